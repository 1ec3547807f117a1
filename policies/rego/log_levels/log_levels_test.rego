package alfred.rules.log_levels_test

import rego.v1

import data.alfred.rules.log_levels.log

settings := {"rules": [{"only": {"groups": ["board"]}, "level": "result"}, {"level": "facts"}]}

asked(groups) := {"caller": {"org": "org_1", "groups": groups}}

test_every_level_that_applies_is_given if {
	log == {"result", "facts"} with input as asked(["board"]) with data.alfred.log_levels as settings
	log == {"facts"} with input as asked([]) with data.alfred.log_levels as settings
}

test_without_settings_nothing_is_said if count(log) == 0 with input as asked(["board"])
