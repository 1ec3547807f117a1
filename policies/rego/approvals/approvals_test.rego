package alfred.rules.approvals_test

import rego.v1

import data.alfred.rules.approvals

asked(price, tokens) := {
	"caller": {"org": "org_1", "groups": ["staff"]},
	"request": {"input_tokens": tokens},
	"candidates": [{"name": "frontier", "target": "x/frontier", "price_output": price}],
}

settings(conditions) := {"rules": [object.union({"name": "frontier", "reason": "ask your head of desk"}, conditions)]}

wanted := {{"name": "frontier", "reason": "ask your head of desk"}}

test_models_that_are_named_need_one if {
	approvals.approvals == wanted with input as asked("75", 10) with data.alfred.approvals as settings({"models": ["x/*"]})
	count(approvals.approvals) == 0 with input as asked("75", 10) with data.alfred.approvals as settings({"models": ["y/*"]})
}

test_dear_models_need_one if {
	dear := settings({"above_output_usd": "30"})
	approvals.approvals == wanted with input as asked("30.01", 10) with data.alfred.approvals as dear
	count(approvals.approvals) == 0 with input as asked("30", 10) with data.alfred.approvals as dear
}

test_a_price_that_is_not_known_is_too_high if {
	unpriced := {"caller": {"org": "org_1"}, "request": {"input_tokens": 1}, "candidates": [{"name": "m", "target": "x/m"}]}
	approvals.approvals == wanted with input as unpriced with data.alfred.approvals as settings({"above_output_usd": "30"})
}

test_every_condition_must_hold if {
	both := settings({"above_output_usd": "30", "above_input_tokens": 1000})
	approvals.approvals == wanted with input as asked("31", 1001) with data.alfred.approvals as both
	count(approvals.approvals) == 0 with input as asked("31", 1000) with data.alfred.approvals as both
	count(approvals.approvals) == 0 with input as asked("29", 1001) with data.alfred.approvals as both
}

test_those_excepted_need_none if {
	spared := settings({"except": {"groups": ["staff"]}})
	count(approvals.approvals) == 0 with input as asked("75", 10) with data.alfred.approvals as spared
	count(approvals.approvals) == 0 with input as asked("75", 10)
}
