package alfred.rules.minors_test

import rego.v1

import data.alfred.rules.minors

settings := {"except": {"groups": ["teachers"]}, "models": ["tutor"], "max_output_tokens": 600}

asked(groups, changes) := {
	"caller": {"org": "org_1", "groups": groups},
	"request": object.union({"images": false, "tools": false}, changes),
	"candidates": [{"name": "tutor", "target": "x/small"}, {"name": "large", "target": "x/large"}],
}

test_pupils_have_the_models_that_are_named if {
	minors.allow == {"x/small"} with input as asked(["class_4b"], {}) with data.alfred.minors as settings
	minors.allow == {"x/small"} with input as asked([], {}) with data.alfred.minors as settings
	minors.allow == {"x/small", "x/large"} with input as asked(["teachers"], {}) with data.alfred.minors as settings
}

test_pupils_have_no_images_and_no_tools if {
	count(minors.deny) == 2 with input as asked([], {"images": true, "tools": true}) with data.alfred.minors as settings
	count(minors.deny) == 0 with input as asked([], {}) with data.alfred.minors as settings
	count(minors.deny) == 0 with input as asked(["teachers"], {"images": true}) with data.alfred.minors as settings
	may := object.union(settings, {"may": ["tools"]})
	count(minors.deny) == 0 with input as asked([], {"tools": true}) with data.alfred.minors as may
}

test_personal_data_stops_their_calls if {
	some table in minors.actions with input as asked([], {}) with data.alfred.minors as settings
	{action | some action in table} == {"block"}
	count(table) == 6
	count(minors.actions) == 0 with input as asked(["teachers"], {}) with data.alfred.minors as settings
}

test_their_answers_are_short if {
	minors.max_output_tokens == {600} with input as asked([], {}) with data.alfred.minors as settings
	count(minors.max_output_tokens) == 0 with input as asked(["teachers"], {}) with data.alfred.minors as settings
}

test_without_settings_nothing_is_said if {
	count(minors.allow) == 2 with input as asked([], {})
	count(minors.deny) == 0 with input as asked([], {"images": true})
	count(minors.actions) == 0 with input as asked([], {})
}
