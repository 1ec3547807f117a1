package alfred.rules.preference_test

import rego.v1

import data.alfred.rules.preference

candidates := [
	{"target": "openai/a", "provider": "openai", "region": "us", "healthy": true, "price_output": "10"},
	{"target": "azure/a", "provider": "azure", "region": "eu", "healthy": false, "price_output": "9.5"},
	{"target": "local/a", "provider": "local", "region": "ch", "healthy": true},
]

asked := {"caller": {"org": "org_1", "groups": []}, "request": {"model": "a"}, "candidates": candidates}

check(setting, expected) if {
	preference.order == {expected} with input as asked with data.alfred.preference as {"rules": [setting]}
}

test_healthy_ones_come_first_and_the_others_keep_their_order if check({"by": ["healthy"]}, ["openai/a", "local/a", "azure/a"])

test_the_cheapest_comes_first_and_the_unpriced_last if check({"by": ["price"]}, ["azure/a", "openai/a", "local/a"])

test_near_ones_come_first if check({"by": ["region"], "regions": ["ch", "eu"]}, ["local/a", "azure/a", "openai/a"])

test_wishes_count_in_their_order if {
	check({"by": ["healthy", "provider"], "providers": ["azure", "local"]}, ["local/a", "openai/a", "azure/a"])
}

test_the_first_rule_that_fits_counts if {
	settings := {"rules": [
		{"only": {"groups": ["x"]}, "by": ["price"]},
		{"models": ["b"], "by": ["price"]},
		{"by": ["region"], "regions": ["eu"]},
		{"by": ["price"]},
	]}
	preference.order == {["azure/a", "openai/a", "local/a"]} with input as asked with data.alfred.preference as settings
}

test_without_settings_the_configured_order_stays if {
	count(preference.order) == 0 with input as asked
	count(preference.order) == 0 with input as asked with data.alfred.preference as {"rules": [{"models": ["b"], "by": ["price"]}]}
}
