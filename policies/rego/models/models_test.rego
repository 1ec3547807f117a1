package alfred.rules.models_test

import rego.v1

import data.alfred.rules.models

candidates := [
	{"target": "openai/gpt-4o", "name": "gpt-4o"},
	{"target": "azure-eu/gpt-4o", "name": "gpt-4o"},
	{"target": "sim/echo", "name": "sim/echo"},
]

asked(list) := {"caller": {"models": list}, "request": {"model": "gpt-4o"}, "candidates": candidates}

test_a_key_without_a_list_may_use_every_candidate if {
	models.allow == {"openai/gpt-4o", "azure-eu/gpt-4o", "sim/echo"} with input as asked(null)
	count(models.deny) == 0 with input as asked(null)
}

test_an_alias_admits_its_targets_and_no_fallback if {
	models.allow == {"openai/gpt-4o", "azure-eu/gpt-4o"} with input as asked(["gpt-4o"])
}

test_a_target_admits_itself_only if {
	models.allow == {"azure-eu/gpt-4o"} with input as asked(["azure-eu/gpt-4o"])
}

test_an_empty_list_admits_nothing_and_says_why if {
	count(models.allow) == 0 with input as asked([])
	some reason in models.deny with input as asked([])
	reason == {"code": "model_not_allowed", "message": "this key may not use the model gpt-4o"}
}

test_a_list_that_is_missing_or_no_list_admits_nothing if {
	count(models.allow) == 0 with input as object.remove(asked(null), ["caller"])
	count(models.allow) == 0 with input as asked("gpt-4o")
}
