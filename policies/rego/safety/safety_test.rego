package alfred.rules.safety_test

import rego.v1

import data.alfred.rules.safety

caller := {"caller": {"org": "org_1", "team": "team_1"}}

test_personal_data_is_redacted_and_secrets_block_by_default if {
	some table in safety.actions with input as caller with data.alfred.safety as {}
	table == {
		"email": "redact",
		"payment_card": "redact",
		"iban": "redact",
		"us_ssn": "redact",
		"phone": "redact",
		"api_key": "block",
	}
}

test_the_nearest_setting_counts if {
	settings := {
		"actions": {"email": "allow", "phone": "block"},
		"orgs": {"org_1": {"actions": {"phone": "redact"}}, "org_2": {"actions": {"iban": "allow"}}},
		"teams": {"team_1": {"actions": {"email": "block"}}},
	}
	some table in safety.actions with input as caller with data.alfred.safety as settings
	table.email == "block"
	table.phone == "redact"
	table.iban == "redact"
	table.api_key == "block"
}

test_a_caller_without_a_team_has_the_org_s_actions if {
	settings := {"orgs": {"org_1": {"actions": {"email": "block"}}}, "teams": {"team_1": {"actions": {"email": "allow"}}}}
	some table in safety.actions with input as {"caller": {"org": "org_1"}} with data.alfred.safety as settings
	table.email == "block"
}
