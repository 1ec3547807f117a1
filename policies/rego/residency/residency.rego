# Which regions a call may go to. Every bound that applies holds at once; the gateway drops candidates outside and
# refuses with residency_violation when none is left.
package alfred.rules.residency

import rego.v1

settings := data.alfred.residency

regions contains bound if bound := settings.regions

regions contains bound if bound := settings.orgs[input.caller.org].regions

regions contains bound if bound := settings.teams[input.caller.team].regions
