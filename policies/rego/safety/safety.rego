# What is done about findings: the default, overridden by data for everyone, then for the org, then for the team.
# The nearest setting counts here; rules that are added can only make it stricter.
package alfred.rules.safety

import rego.v1

defaults := {
	"email": "redact",
	"payment_card": "redact",
	"iban": "redact",
	"us_ssn": "redact",
	"phone": "redact",
	"api_key": "block",
}

actions contains table if table := object.union_n([defaults, everyone, org, team])

default everyone := {}

everyone := data.alfred.safety.actions

default org := {}

org := data.alfred.safety.orgs[input.caller.org].actions

default team := {}

team := data.alfred.safety.teams[input.caller.team].actions
