package alfred.rules.features_test

import rego.v1

import data.alfred.rules.features

plain := {"kind": "chat.completions", "stream": false, "images": false, "tools": false}

asked(changes) := {"caller": {"org": "org_1", "groups": ["pupils"]}, "request": object.union(plain, changes)}

settings := {"rules": [{"only": {"groups": ["pupils"]}, "refuse": ["images", "tools"], "kinds": ["chat.*", "messages"]}]}

check(changes, expected) if count(features.deny) == expected with input as asked(changes) with data.alfred.features as settings

test_what_is_refused_is_refused if {
	check({"images": true}, 1)
	check({"images": true, "tools": true}, 2)
	some reason in features.deny with input as asked({"images": true}) with data.alfred.features as settings
	reason.message == "calls with images are not allowed here"
}

test_the_rest_is_not if {
	check({}, 0)
	check({"stream": true}, 0)
}

test_only_these_kinds_of_call if {
	check({"kind": "messages"}, 0)
	check({"kind": "batches"}, 1)
}

test_what_a_request_does_not_say_counts_as_asked_for if {
	call := {"caller": {"org": "org_1", "groups": ["pupils"]}, "request": {}}
	count(features.deny) == 3 with input as call with data.alfred.features as settings
}

test_others_are_not_bound if {
	call := object.union(asked({"images": true}), {"caller": {"groups": []}})
	count(features.deny) == 0 with input as call with data.alfred.features as settings
	count(features.deny) == 0 with input as asked({"images": true})
}
