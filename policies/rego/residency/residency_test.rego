package alfred.rules.residency_test

import rego.v1

import data.alfred.rules.residency

bounds := {"regions": ["eu", "ch"], "orgs": {"org_1": {"regions": ["eu"]}}, "teams": {"team_1": {"regions": ["ch"]}}}

test_there_is_no_bound_by_default if {
	count(residency.regions) == 0 with input as {"caller": {"org": "org_1"}}
		with data.alfred.residency as {}
}

test_every_bound_that_applies_is_given if {
	residency.regions == {["eu", "ch"]} with input as {"caller": {"org": "org_2"}} with data.alfred.residency as bounds
	residency.regions == {["eu", "ch"], ["eu"]} with input as {"caller": {"org": "org_1"}}
		with data.alfred.residency as bounds
	residency.regions == {["eu", "ch"], ["eu"], ["ch"]} with input as {"caller": {"org": "org_1", "team": "team_1"}}
		with data.alfred.residency as bounds
}
