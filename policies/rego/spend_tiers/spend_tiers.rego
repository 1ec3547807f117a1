# How much may a trainee spend on one call, and on which models? The first tier that speaks of a caller is theirs; whom none speaks
# of may not call.
package alfred.rules.spend_tiers

import rego.v1

import data.alfred.rules.callers
import data.alfred.rules.patterns

allow contains target if {
	not data.alfred.spend_tiers
	some it in input.candidates
	target := it.target
}

allow contains target if {
	some it in input.candidates
	patterns.candidate(it, object.get(tier, "models", ["*"]))
	target := it.target
}

max_cost_usd contains most if most := tier.max_cost_usd

max_output_tokens contains cap if cap := tier.max_output_tokens

routing contains sentence if sentence := sprintf("spend tier %s", [tier.name])

deny contains {"code": "policy_denied", "message": "no spend tier is yours"} if {
	data.alfred.spend_tiers
	not tier
}

tier := [setting | some setting in data.alfred.spend_tiers.tiers; callers.bound(setting)][0]
