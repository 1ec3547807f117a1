package alfred.rules.budget_downgrade_test

import rego.v1

import data.alfred.rules.budget_downgrade

settings := {"rules": [
	{"below_percent": 5, "models": {"large": "tiny", "medium": "tiny"}},
	{"below_percent": 25, "except": {"groups": ["research"]}, "models": {"large": "medium"}},
]}

asked(left, groups) := {"caller": {"org": "org_1", "groups": groups}, "request": {"model": "large"}, "budget": {"left_percent": left}}

test_below_the_share_it_is_the_cheaper_model if {
	budget_downgrade.reroute == {"medium"} with input as asked(24, []) with data.alfred.budget_downgrade as settings
	budget_downgrade.routing == {"budget below 25 percent"} with input as asked(24, [])
		with data.alfred.budget_downgrade as settings
}

test_the_first_that_fits_counts if {
	budget_downgrade.reroute == {"tiny"} with input as asked(4, []) with data.alfred.budget_downgrade as settings
	budget_downgrade.reroute == {"tiny"} with input as asked(4, ["research"]) with data.alfred.budget_downgrade as settings
}

test_with_money_or_without_a_limit_nothing_changes if {
	count(budget_downgrade.reroute) == 0 with input as asked(25, []) with data.alfred.budget_downgrade as settings
	count(budget_downgrade.reroute) == 0 with input as asked(24, ["research"]) with data.alfred.budget_downgrade as settings
	count(budget_downgrade.reroute) == 0 with input as object.remove(asked(1, []), ["budget"])
		with data.alfred.budget_downgrade as settings
	count(budget_downgrade.reroute) == 0 with input as asked(1, [])
}

test_a_model_that_is_not_named_stays if {
	other := object.union(asked(1, []), {"request": {"model": "tiny"}})
	count(budget_downgrade.reroute) == 0 with input as other with data.alfred.budget_downgrade as settings
}
