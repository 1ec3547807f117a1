package alfred.rules.canary_test

import rego.v1

import data.alfred.rules.canary

settings := {"models": {"gpt-4o": {"except": {"groups": ["vip"]}, "targets": {"openai/gpt-4o": 95, "azure/gpt-4o": 5}}}}

asked(groups, targets) := {
	"caller": {"org": "org_1", "groups": groups},
	"request": {"model": "gpt-4o"},
	"candidates": [{"target": target} | some target in targets],
}

both := ["openai/gpt-4o", "azure/gpt-4o", "local/llama"]

test_shares_are_those_of_the_settings if {
	expected := {{"openai/gpt-4o": 95, "azure/gpt-4o": 5}}
	canary.weights == expected with input as asked([], both) with data.alfred.canary as settings
}

test_a_target_that_is_no_candidate_has_no_share if {
	canary.weights == {{"azure/gpt-4o": 5}} with input as asked([], ["azure/gpt-4o"]) with data.alfred.canary as settings
	count(canary.weights) == 0 with input as asked([], ["local/llama"]) with data.alfred.canary as settings
}

test_others_keep_their_order if {
	count(canary.weights) == 0 with input as asked(["vip"], both) with data.alfred.canary as settings
	count(canary.weights) == 0 with input as object.union(asked([], both), {"request": {"model": "gpt-5"}})
		with data.alfred.canary as settings
	count(canary.weights) == 0 with input as asked([], both)
}
