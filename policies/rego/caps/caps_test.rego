package alfred.rules.caps_test

import rego.v1

import data.alfred.rules.caps

asked := {
	"caller": {"org": "org_1", "team": "team_1"},
	"candidates": [{"name": "gpt-4o", "target": "openai/gpt-4o"}, {"name": "sim/echo", "target": "sim/echo"}],
}

settings := {
	"max_output_tokens": 4000,
	"orgs": {"org_1": {"max_output_tokens": 3000}, "org_2": {"max_output_tokens": 1}},
	"teams": {"team_1": {"max_output_tokens": 2000}},
	"models": {"gpt-4o": {"max_output_tokens": 1000}, "openai/gpt-4o": {"max_output_tokens": 900}},
}

test_there_is_no_cap_by_default if {
	count(caps.max_output_tokens) == 0 with input as asked with data.alfred.caps as {}
}

test_every_cap_that_applies_is_given if {
	caps.max_output_tokens == {4000, 3000, 2000, 1000, 900} with input as asked with data.alfred.caps as settings
}

test_a_caller_without_a_team_keeps_the_other_caps if {
	caps.max_output_tokens == {4000, 3000} with input as {"caller": {"org": "org_1"}, "candidates": []}
		with data.alfred.caps as settings
}
