# Which MCP servers may a model be sent to? Those named for the caller; a provider would carry our data to any other. A server is
# known by its label and by the host of its address: each of them must be named.
package alfred.rules.mcp

import rego.v1

import data.alfred.rules.callers
import data.alfred.rules.patterns

deny contains {"code": "policy_denied", "message": message} if {
	some setting in data.alfred.mcp.rules
	callers.bound(setting)
	some server in input.request.mcp_servers
	not patterns.fits(server, setting.servers)
	message := object.get(setting, "message", "an MCP server of this call is not allowed here")
}
