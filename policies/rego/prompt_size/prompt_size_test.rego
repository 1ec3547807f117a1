package alfred.rules.prompt_size_test

import rego.v1

import data.alfred.rules.prompt_size

settings := {"rules": [
	{"max_input_tokens": 8000},
	{"only": {"groups": ["interns"]}, "models": ["gpt-*"], "max_input_tokens": 1000},
]}

asked(groups, model, tokens) := {"caller": {"org": "org_1", "groups": groups}, "request": {"model": model, "input_tokens": tokens}}

check(call, expected) if count(prompt_size.deny) == expected with input as call with data.alfred.prompt_size as settings

test_a_prompt_may_be_as_long_as_the_limit if {
	check(asked([], "gpt-4o", 8000), 0)
	check(asked([], "gpt-4o", 8001), 1)
}

test_every_limit_that_applies_holds if {
	check(asked(["interns"], "gpt-4o", 1001), 1)
	check(asked(["interns"], "gpt-4o", 9000), 2)
	check(asked(["interns"], "claude", 1001), 0)
}

test_a_size_that_is_not_known_is_too_large if check({"caller": {"org": "org_1"}, "request": {"model": "gpt-4o"}}, 1)

test_without_settings_nothing_is_said if count(prompt_size.deny) == 0 with input as asked([], "gpt-4o", 1000000)
