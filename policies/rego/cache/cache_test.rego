package alfred.rules.cache_test

import rego.v1

import data.alfred.rules.cache.cache

asked := {"caller": {"org": "org_1"}, "request": {"model": "gpt-4o"}}

on(seconds) := {"enabled": true, "ttl_seconds": seconds}

test_nothing_is_kept_by_default if {
	count(cache) == 0 with input as asked with data.alfred.cache as {}
	count(cache) == 0 with input as asked with data.alfred.cache as {"ttl_seconds": 60}
}

test_everyone_the_org_and_the_model_may_turn_it_on if {
	cache == {{"ttl_seconds": 60}} with input as asked with data.alfred.cache as on(60)
	cache == {{"ttl_seconds": 50}} with input as asked with data.alfred.cache as {"orgs": {"org_1": on(50)}}
	cache == {{"ttl_seconds": 40}} with input as asked with data.alfred.cache as {"models": {"gpt-4o": on(40)}}
}

test_another_org_or_model_changes_nothing if {
	settings := {"orgs": {"org_2": on(50)}, "models": {"gpt-5": on(40)}}
	count(cache) == 0 with input as asked with data.alfred.cache as settings
}

test_off_is_said_as_no_time_at_all if {
	settings := object.union(on(60), {"models": {"gpt-4o": {"enabled": false}}})
	cache == {{"ttl_seconds": 60}, {"ttl_seconds": 0}} with input as asked with data.alfred.cache as settings
}
