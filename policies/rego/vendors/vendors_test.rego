package alfred.rules.vendors_test

import rego.v1

import data.alfred.rules.vendors

everything := {"openai/a", "azure-eu/a", "azure-us/a", "local/a"}

asked(groups) := {
	"caller": {"org": "org_1", "groups": groups},
	"candidates": [{"target": target, "provider": split(target, "/")[0]} | some target in everything],
}

test_banned_vendors_are_no_targets if {
	settings := {"rules": [{"deny": ["openai", "azure-us"]}]}
	vendors.allow == {"azure-eu/a", "local/a"} with input as asked([]) with data.alfred.vendors as settings
}

test_a_list_admits_what_it_names if {
	settings := {"rules": [{"allow": ["azure-*"]}, {"only": {"groups": ["health"]}, "allow": ["local", "azure-eu"]}]}
	vendors.allow == {"azure-eu/a", "azure-us/a"} with input as asked([]) with data.alfred.vendors as settings
	vendors.allow == {"azure-eu/a"} with input as asked(["health"]) with data.alfred.vendors as settings
}

test_a_candidate_without_a_provider_is_no_target if {
	call := {"caller": {"org": "org_1"}, "candidates": [{"target": "x/a"}]}
	count(vendors.allow) == 0 with input as call with data.alfred.vendors as {"rules": [{"deny": ["y"]}]}
}

test_without_settings_every_target_is_admitted if {
	call := asked([])
	vendors.allow == everything with input as call
}
