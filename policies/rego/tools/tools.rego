# May interns offer tools to a model? Which tools whom is allowed: others are refused, or taken out of the request. Tools that have
# no name cannot be told apart, so they are refused.
package alfred.rules.tools

import rego.v1

import data.alfred.rules.callers
import data.alfred.rules.patterns

deny contains {"code": "policy_denied", "message": message} if {
	some setting in data.alfred.tools.rules
	object.get(setting, "remove", false) == false
	callers.bound(setting)
	some name in input.request.tool_names
	not admitted(setting, name)
	message := object.get(setting, "message", sprintf("the tool %s is not allowed here", [name]))
}

deny contains {"code": "policy_denied", "message": "a tool without a name is not allowed here"} if {
	some setting in data.alfred.tools.rules
	callers.bound(setting)
	unnamed
}

remove_tools contains name if {
	some setting in data.alfred.tools.rules
	setting.remove == true
	callers.bound(setting)
	some name in input.request.tool_names
	not admitted(setting, name)
}

admitted(setting, name) if {
	patterns.fits(name, object.get(setting, "allow", ["*"]))
	not patterns.fits(name, object.get(setting, "deny", []))
}

unnamed if {
	not input.request.tools == false
	count(object.get(input.request, "tool_names", [])) == 0
	count(object.get(input.request, "mcp_servers", [])) == 0
}

# What a request offers without a name is called "?" in the facts.
unnamed if {
	some name in input.request.tool_names
	name in ["", "?"]
}
