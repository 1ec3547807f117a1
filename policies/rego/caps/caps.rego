# How long an answer may be. The lowest cap that applies counts.
package alfred.rules.caps

import rego.v1

max_output_tokens contains cap if {
	settings := data.alfred.caps
	some level in [
		settings,
		object.get(settings, ["orgs", input.caller.org], {}),
		object.get(settings, ["teams", object.get(input.caller, "team", "")], {}),
	]
	cap := level.max_output_tokens
}

# A fallback may be asked too, so the caps of all candidates count, under their alias and their own name.
max_output_tokens contains cap if {
	models := data.alfred.caps.models
	some candidate in input.candidates
	some name in [candidate.name, candidate.target]
	cap := models[name].max_output_tokens
}
