# What should a team get when its budget runs low? A cheaper model, before the wallet is empty. The first rule that fits counts; who
# has no limit has no share left to speak of.
package alfred.rules.budget_downgrade

import rego.v1

import data.alfred.rules.callers

reroute contains cheaper if cheaper := fitting[0].to

routing contains sentence if sentence := sprintf("budget below %d percent", [fitting[0].below])

fitting := [{"to": to, "below": setting.below_percent} |
	some setting in data.alfred.budget_downgrade.rules
	input.budget.left_percent < setting.below_percent
	callers.bound(setting)
	to := setting.models[input.request.model]
]
