package alfred.rules.downgrade_test

import rego.v1

import data.alfred.rules.downgrade.downgrade

asked := {"caller": {"org": "org_1"}, "request": {"model": "gpt-4o"}, "budget": {"downgrade": true}}

settings := {
	"models": {"gpt-4o": "gpt-4o-mini", "opus": "sonnet"},
	"orgs": {"org_1": {"models": {"gpt-4o": "gpt-4o-nano"}}, "org_2": {"models": {}}},
}

test_nothing_is_named_by_default if {
	count(downgrade) == 0 with input as asked with data.alfred.downgrade as {}
}

test_nothing_is_named_while_there_is_money if {
	enough := object.union(asked, {"budget": {"downgrade": false}})
	count(downgrade) == 0 with input as enough with data.alfred.downgrade as settings
}

test_the_organisation_s_word_comes_before_everyone_s if {
	downgrade == {"gpt-4o-nano"} with input as asked with data.alfred.downgrade as settings
	other := object.union(asked, {"caller": {"org": "org_2"}})
	downgrade == {"gpt-4o-mini"} with input as other with data.alfred.downgrade as settings
}

test_a_model_that_is_not_named_stays if {
	other := object.union(asked, {"request": {"model": "gpt-5"}})
	count(downgrade) == 0 with input as other with data.alfred.downgrade as settings
}
