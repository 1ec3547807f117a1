package alfred.rules.price_ceiling_test

import rego.v1

import data.alfred.rules.price_ceiling

asked(groups) := {"caller": {"org": "org_1", "groups": groups}, "candidates": [
	{"target": "x/large", "price_input": "15.00", "price_output": "75"},
	{"target": "x/small", "price_input": "0.15", "price_output": "0.60"},
	{"target": "x/half", "price_input": "0.15"},
	{"target": "x/unknown"},
]}

test_dearer_targets_are_left_out if {
	settings := {"rules": [{"max_input_usd": "1", "max_output_usd": "0.60"}]}
	price_ceiling.allow == {"x/small"} with input as asked([]) with data.alfred.price_ceiling as settings
}

test_a_target_without_the_price_that_counts_is_left_out if {
	settings := {"rules": [{"max_input_usd": "15"}]}
	expected := {"x/large", "x/small", "x/half"}
	price_ceiling.allow == expected with input as asked([]) with data.alfred.price_ceiling as settings
}

test_every_ceiling_that_applies_holds if {
	settings := {"rules": [{"max_input_usd": "20"}, {"only": {"groups": ["interns"]}, "max_output_usd": "1"}]}
	price_ceiling.allow == {"x/small"} with input as asked(["interns"]) with data.alfred.price_ceiling as settings
	count(price_ceiling.allow) == 3 with input as asked([]) with data.alfred.price_ceiling as settings
}

test_without_settings_every_target_is_admitted if count(price_ceiling.allow) == 4 with input as asked([])
