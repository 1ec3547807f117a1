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

actions contains table if {
	not data.alfred.safety
	table := defaults
}

actions contains table if {
	settings := data.alfred.safety
	table := object.union_n([
		defaults,
		object.get(settings, "actions", {}),
		object.get(settings, ["orgs", input.caller.org, "actions"], {}),
		object.get(settings, ["teams", object.get(input.caller, "team", ""), "actions"], {}),
	])
}
