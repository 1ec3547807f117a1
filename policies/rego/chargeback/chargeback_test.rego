package alfred.rules.chargeback_test

import rego.v1

import data.alfred.rules.chargeback

asked(tags, claims) := {"caller": {"org": "org_1", "tags": tags}, "request": {"claims": claims}}

trusting := {"rules": [{"tag": "project", "claims": true, "values": ["atlas", "apollo"]}]}

check(tags, claims, settings, expected) if {
	count(chargeback.deny) == expected with input as asked(tags, claims) with data.alfred.chargeback as settings
}

test_a_call_that_says_who_pays_may_go if {
	check({"project": "atlas"}, {}, trusting, 0)
	check({}, {"project": "apollo"}, trusting, 0)
}

test_any_other_may_not if {
	check({}, {}, trusting, 1)
	check({}, {"project": ""}, trusting, 1)
	check({}, {"project": "gemini"}, trusting, 1)
	check({}, {"project": "anything"}, {"rules": [{"tag": "project"}]}, 1)
}

test_the_admin_s_word_counts_before_the_client_s if {
	check({"project": "gemini"}, {"project": "atlas"}, trusting, 1)
	call := asked({"project": "atlas"}, {"project": "apollo"})
	count(chargeback.tags) == 0 with input as call with data.alfred.chargeback as trusting
}

test_a_claim_that_is_trusted_becomes_the_call_s_tag if {
	call := asked({}, {"project": "apollo"})
	chargeback.tags == {{"project": "apollo"}} with input as call with data.alfred.chargeback as trusting
}

test_without_settings_nothing_is_said if count(chargeback.deny) == 0 with input as asked({}, {})
