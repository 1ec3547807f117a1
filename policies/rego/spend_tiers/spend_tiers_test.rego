package alfred.rules.spend_tiers_test

import rego.v1

import data.alfred.rules.spend_tiers

settings := {"tiers": [
	{"name": "research", "only": {"groups": ["research"]}, "max_cost_usd": "5"},
	{"name": "staff", "only": {"groups": ["staff"]}, "max_cost_usd": "0.50", "models": ["small", "local/*"], "max_output_tokens": 800},
]}

asked(groups) := {
	"caller": {"org": "org_1", "groups": groups},
	"candidates": [{"name": "large", "target": "x/large"}, {"name": "small", "target": "x/small"}],
}

test_the_first_tier_that_fits_is_the_caller_s if {
	spend_tiers.max_cost_usd == {"5"} with input as asked(["staff", "research"]) with data.alfred.spend_tiers as settings
	spend_tiers.max_cost_usd == {"0.50"} with input as asked(["staff"]) with data.alfred.spend_tiers as settings
	spend_tiers.routing == {"spend tier staff"} with input as asked(["staff"]) with data.alfred.spend_tiers as settings
}

test_a_tier_may_name_models_and_cap_answers if {
	spend_tiers.allow == {"x/small"} with input as asked(["staff"]) with data.alfred.spend_tiers as settings
	spend_tiers.max_output_tokens == {800} with input as asked(["staff"]) with data.alfred.spend_tiers as settings
	spend_tiers.allow == {"x/large", "x/small"} with input as asked(["research"]) with data.alfred.spend_tiers as settings
	count(spend_tiers.max_output_tokens) == 0 with input as asked(["research"]) with data.alfred.spend_tiers as settings
}

test_whom_no_tier_speaks_of_may_not_call if {
	count(spend_tiers.deny) == 1 with input as asked([]) with data.alfred.spend_tiers as settings
	count(spend_tiers.allow) == 0 with input as asked([]) with data.alfred.spend_tiers as settings
	count(spend_tiers.deny) == 0 with input as asked(["staff"]) with data.alfred.spend_tiers as settings
}

test_without_settings_nothing_is_said if {
	spend_tiers.allow == {"x/large", "x/small"} with input as asked([])
	count(spend_tiers.deny) == 0 with input as asked([])
	count(spend_tiers.max_cost_usd) == 0 with input as asked([])
}
