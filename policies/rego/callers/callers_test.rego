package alfred.rules.callers_test

import rego.v1

import data.alfred.rules.callers

asked := {"caller": {
	"org": "org_1",
	"team": "team_1",
	"groups": ["nurses", "night"],
	"tags": {"env": "prod"},
	"attributes": {"org": {"seat": "ch", "grade": "a"}, "team": {"grade": "b"}, "user": {}},
}}

nobody := {"caller": {"org": "org_2", "key": "key_1"}}

test_a_setting_without_names_binds_everyone if {
	callers.bound({}) with input as asked
	callers.bound({}) with input as nobody
}

test_only_binds_those_named if {
	callers.bound({"only": {"orgs": ["org_1"]}}) with input as asked
	callers.bound({"only": {"teams": ["team_0", "team_1"]}}) with input as asked
	callers.bound({"only": {"groups": ["night"]}}) with input as asked
	callers.bound({"only": {"tags": {"env": ["prod"]}}}) with input as asked
	callers.bound({"only": {"attributes": {"seat": ["de", "ch"]}}}) with input as asked
	not callers.bound({"only": {"orgs": ["org_2"], "groups": ["doctors"], "tags": {"env": ["test"]}}}) with input as asked
	not callers.bound({"only": {"teams": ["team_1"], "groups": ["night"]}}) with input as nobody
}

test_except_spares_those_named_and_nobody_of_whom_nothing_is_known if {
	not callers.bound({"except": {"groups": ["nurses"]}}) with input as asked
	not callers.bound({"only": {"orgs": ["org_1"]}, "except": {"teams": ["team_1"]}}) with input as asked
	callers.bound({"except": {"groups": ["nurses"], "teams": ["team_1"], "attributes": {"seat": ["ch"]}}}) with input as nobody
}

test_the_nearest_attribute_counts if {
	callers.bound({"only": {"attributes": {"grade": ["b"]}}}) with input as asked
	not callers.bound({"only": {"attributes": {"grade": ["a"]}}}) with input as asked
}
