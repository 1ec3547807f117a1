package alfred.rules.boundary_test

import rego.v1

import data.alfred.rules.boundary

caller(groups, attributes) := {"caller": {
	"org": "org_1",
	"groups": groups,
	"attributes": {"org": attributes, "team": {}, "user": {}},
}}

rules := {"rules": [
	{"regions": ["eu", "ch", "us"]},
	{"only": {"groups": ["treasury"]}, "regions": ["ch"]},
]}

seat := {"name": "seat", "regions": {"ch": ["ch"], "de": ["eu"]}}

test_every_bound_that_applies_is_given if {
	boundary.regions == {["eu", "ch", "us"]} with input as caller([], {}) with data.alfred.boundary as rules
	boundary.regions == {["eu", "ch", "us"], ["ch"]} with input as caller(["treasury"], {})
		with data.alfred.boundary as rules
}

test_an_attribute_names_the_country if {
	boundary.regions == {["eu"]} with input as caller([], {"seat": "de"}) with data.alfred.boundary as {"attribute": seat}
}

test_a_missing_or_unknown_country_is_nowhere if {
	boundary.regions == {[]} with input as caller([], {}) with data.alfred.boundary as {"attribute": seat}
	boundary.regions == {[]} with input as caller([], {"seat": "fr"}) with data.alfred.boundary as {"attribute": seat}
	boundary.regions == {[]} with input as {"caller": {"org": "org_1"}} with data.alfred.boundary as {"attribute": seat}
}

test_otherwise_is_for_those_without if {
	settings := {"attribute": object.union(seat, {"otherwise": ["us"]})}
	boundary.regions == {["us"]} with input as caller([], {"seat": "fr"}) with data.alfred.boundary as settings
}

test_there_is_no_bound_by_default if {
	count(boundary.regions) == 0 with input as caller([], {}) with data.alfred.boundary as {}
}
