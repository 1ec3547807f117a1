package alfred.rules.no_store_test

import rego.v1

import data.alfred.rules.no_store.cache

asked(groups, findings) := {"caller": {"org": "org_1", "groups": groups}, "request": {"model": "gpt-4o"}, "findings": findings}

off := {{"ttl_seconds": 0}}

test_what_these_callers_ask_is_not_kept if {
	settings := {"rules": [{"only": {"groups": ["ward"]}}]}
	cache == off with input as asked(["ward"], {}) with data.alfred.no_store as settings
	count(cache) == 0 with input as asked([], {}) with data.alfred.no_store as settings
}

test_a_model_may_be_named if {
	count(cache) == 0 with input as asked([], {}) with data.alfred.no_store as {"rules": [{"models": ["gpt-5"]}]}
	cache == off with input as asked([], {}) with data.alfred.no_store as {"rules": [{"models": ["gpt-*"]}]}
}

test_what_was_found_may_decide if {
	settings := {"rules": [{"kinds": ["us_ssn"]}]}
	cache == off with input as asked([], {"us_ssn": 1}) with data.alfred.no_store as settings
	count(cache) == 0 with input as asked([], {"email": 1}) with data.alfred.no_store as settings
}

test_without_settings_nothing_is_said if count(cache) == 0 with input as asked(["ward"], {})
