# What may the decision log keep of the board's calls? Only the result, where a rule says so; the strictest counts.
package alfred.rules.log_levels

import rego.v1

import data.alfred.rules.callers

log contains level if {
	some setting in data.alfred.log_levels.rules
	callers.bound(setting)
	level := setting.level
}
