# Who has to say yes before the dearest models are used? Calls that fit a rule need an approval of its name. A price that is not
# known counts as too high.
package alfred.rules.approvals

import rego.v1

import data.alfred.rules.callers
import data.alfred.rules.patterns

approvals contains {"name": name, "reason": reason} if {
	some setting in data.alfred.approvals.rules
	callers.bound(setting)
	some it in input.candidates
	patterns.candidate(it, object.get(setting, "models", ["*"]))
	not cheap(setting, it)
	not short(setting)
	name := setting.name
	reason := setting.reason
}

cheap(setting, it) if to_number(it.price_output) <= to_number(setting.above_output_usd)

short(setting) if input.request.input_tokens <= setting.above_input_tokens
