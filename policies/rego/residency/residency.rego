# Which regions a call may go to. Every bound that applies holds at once; the gateway drops candidates outside and
# refuses with residency_violation when none is left.
package alfred.rules.residency

import rego.v1

regions contains bound if {
	settings := data.alfred.residency
	some level in [
		settings,
		object.get(settings, ["orgs", input.caller.org], {}),
		object.get(settings, ["teams", object.get(input.caller, "team", "")], {}),
	]
	bound := level.regions
}
