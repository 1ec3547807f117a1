package alfred.rules.freeze_test

import rego.v1

import data.alfred.rules.freeze

settings := {"rules": [{
	"from": "2026-12-20T00:00:00+01:00",
	"until": "2027-01-02T00:00:00Z",
	"except": {"teams": ["team_oncall"]},
	"keys": ["key_pager"],
}]}

asked(team, key, seconds) := {"caller": {"org": "org_1", "team": team, "key": key}, "time": {"unix_seconds": seconds}}

begins := 1797721200

ends := 1798848000

test_within_it_nobody_calls if {
	count(freeze.deny) == 1 with input as asked("team_1", "key_1", begins) with data.alfred.freeze as settings
	count(freeze.deny) == 1 with input as asked("team_1", "key_1", ends - 1) with data.alfred.freeze as settings
	some reason in freeze.deny with input as asked("team_1", "key_1", begins) with data.alfred.freeze as settings
	reason.message == "calls are frozen until 2027-01-02T00:00:00Z"
}

test_before_and_after_everybody_does if {
	count(freeze.deny) == 0 with input as asked("team_1", "key_1", begins - 1) with data.alfred.freeze as settings
	count(freeze.deny) == 0 with input as asked("team_1", "key_1", ends) with data.alfred.freeze as settings
}

test_those_who_are_needed_do_always if {
	count(freeze.deny) == 0 with input as asked("team_oncall", "key_1", begins) with data.alfred.freeze as settings
	count(freeze.deny) == 0 with input as asked("team_1", "key_pager", begins) with data.alfred.freeze as settings
}

test_a_call_without_a_time_is_within_it if {
	count(freeze.deny) == 1 with input as {"caller": {"org": "org_1"}} with data.alfred.freeze as settings
}

test_without_settings_nothing_is_said if count(freeze.deny) == 0 with input as asked("team_1", "key_1", begins)
