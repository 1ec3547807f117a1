package alfred.rules.tools_test

import rego.v1

import data.alfred.rules.tools

asked(groups, names) := {
	"caller": {"org": "org_1", "groups": groups},
	"request": {"tools": count(names) > 0, "tool_names": names, "mcp_servers": []},
}

interns := {"rules": [{"only": {"groups": ["interns"]}, "allow": []}]}

test_interns_have_no_tools if {
	some reason in tools.deny with input as asked(["interns"], ["search"]) with data.alfred.tools as interns
	reason.message == "the tool search is not allowed here"
	count(tools.deny) == 0 with input as asked(["interns"], []) with data.alfred.tools as interns
	count(tools.deny) == 0 with input as asked(["staff"], ["search"]) with data.alfred.tools as interns
}

test_lists_name_tools_or_how_they_begin if {
	settings := {"rules": [{"allow": ["crm_*", "search"], "deny": ["crm_delete"]}]}
	count(tools.deny) == 0 with input as asked([], ["search", "crm_read"]) with data.alfred.tools as settings
	count(tools.deny) == 2 with input as asked([], ["crm_delete", "shell", "search"]) with data.alfred.tools as settings
}

test_tools_may_be_taken_out_instead if {
	settings := {"rules": [{"deny": ["shell*"], "remove": true}]}
	call := asked([], ["search", "shell_exec"])
	tools.remove_tools == {"shell_exec"} with input as call with data.alfred.tools as settings
	count(tools.deny) == 0 with input as call with data.alfred.tools as settings
}

test_tools_without_a_name_are_refused if {
	call := {"caller": {"org": "org_1"}, "request": {"tools": true, "tool_names": [], "mcp_servers": []}}
	settings := {"rules": [{"deny": ["shell"], "remove": true}]}
	count(tools.deny) == 1 with input as call with data.alfred.tools as settings
	count(tools.deny) == 1 with input as {"caller": {"org": "org_1"}, "request": {}} with data.alfred.tools as settings
	count(tools.deny) == 1 with input as asked([], ["", "search"]) with data.alfred.tools as settings
	count(tools.deny) == 1 with input as asked([], ["?", "search"]) with data.alfred.tools as settings
}

test_without_settings_nothing_is_said if {
	count(tools.deny) == 0 with input as asked([], ["shell"])
	count(tools.remove_tools) == 0 with input as asked([], ["shell"])
}
