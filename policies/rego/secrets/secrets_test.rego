package alfred.rules.secrets_test

import rego.v1

import data.alfred.rules.secrets

settings := {"rules": [{"except": {"teams": ["team_security"]}, "kinds": ["api_key", "payment_card"]}]}

asked(team, findings) := {"caller": {"org": "org_1", "team": team}, "findings": findings}

test_what_was_found_refuses_the_call if {
	some reason in secrets.deny with input as asked("team_1", {"api_key": 1, "email": 4}) with data.alfred.secrets as settings
	reason.message == "api_key was found in the request"
	count(secrets.deny) == 2 with input as asked("team_1", {"api_key": 1, "payment_card": 2})
		with data.alfred.secrets as settings
}

test_other_findings_do_not if {
	count(secrets.deny) == 0 with input as asked("team_1", {"email": 4, "api_key": 0}) with data.alfred.secrets as settings
	count(secrets.deny) == 0 with input as asked("team_1", {}) with data.alfred.secrets as settings
}

test_answers_are_held_to_the_same if {
	expected := {{"api_key": "block", "payment_card": "block"}}
	secrets.actions == expected with input as asked("team_1", {}) with data.alfred.secrets as settings
}

test_those_excepted_are_not_bound if {
	count(secrets.deny) == 0 with input as asked("team_security", {"api_key": 1}) with data.alfred.secrets as settings
	count(secrets.actions) == 0 with input as asked("team_security", {"api_key": 1}) with data.alfred.secrets as settings
}

test_without_settings_nothing_is_said if count(secrets.deny) == 0 with input as asked("team_1", {"api_key": 1})
