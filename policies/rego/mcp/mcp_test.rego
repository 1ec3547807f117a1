package alfred.rules.mcp_test

import rego.v1

import data.alfred.rules.mcp

settings := {"rules": [{"except": {"groups": ["platform"]}, "servers": ["crm", "mcp.bank.example"]}]}

asked(groups, servers) := {"caller": {"org": "org_1", "groups": groups}, "request": {"mcp_servers": servers}}

test_servers_that_are_named_are_allowed if {
	call := asked([], ["crm", "mcp.bank.example"])
	count(mcp.deny) == 0 with input as call with data.alfred.mcp as settings
}

test_any_other_is_refused if {
	count(mcp.deny) == 1 with input as asked([], ["crm", "mcp.bank.example.evil"]) with data.alfred.mcp as settings
	count(mcp.deny) == 1 with input as asked([], ["wiki"]) with data.alfred.mcp as {"rules": [{"servers": []}]}
}

test_those_excepted_are_not_bound if count(mcp.deny) == 0 with input as asked(["platform"], ["x"]) with data.alfred.mcp as settings

test_without_settings_nothing_is_said if count(mcp.deny) == 0 with input as asked([], ["x"])
