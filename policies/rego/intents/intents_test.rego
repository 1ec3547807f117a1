package alfred.rules.intents_test

import rego.v1

import data.alfred.rules.intents

settings := {"rules": [
	{"intents": ["reasoning"], "tiers": [4], "to": "large"},
	{"intents": ["code"], "tiers": [1, 2], "models": ["large"], "to": "coder"},
	{"tiers": [1], "below_percent": 50, "to": "tiny"},
	{"tiers": [1], "to": "small", "min_confidence": 90},
]}

asked(intent, tier, sure) := {
	"caller": {"org": "org_1"},
	"request": {"model": "large", "intent": intent, "intent_confidence": sure, "tier": tier},
	"budget": {},
}

check(call, expected) if intents.reroute == expected with input as call with data.alfred.intents as settings

test_work_goes_to_the_model_that_is_good_enough if {
	check(asked("code", 2, 80), {"coder"})
	check(asked("chat", 1, 95), {"small"})
}

test_the_first_rule_that_fits_counts if check(asked("code", 1, 95), {"coder"})

test_a_guess_that_is_not_sure_changes_nothing if {
	check(asked("code", 2, 59), set())
	check(asked("chat", 1, 80), set())
}

test_other_work_stays if {
	check(asked("code", 3, 90), set())
	check(asked("reasoning", 4, 90), set())
	count(intents.reroute) == 0 with input as asked("code", 1, 90)
}

test_the_budget_may_decide if {
	check(object.union(asked("chat", 1, 80), {"budget": {"left_percent": 49}}), {"tiny"})
	check(object.union(asked("chat", 1, 80), {"budget": {"left_percent": 50}}), set())
}

test_the_receipt_says_why if {
	intents.routing == {"code at tier 2 goes to coder"} with input as asked("code", 2, 80) with data.alfred.intents as settings
}
