# How long an answer may be. The lowest cap that applies counts.
package alfred.rules.caps

import rego.v1

settings := data.alfred.caps

max_output_tokens contains cap if cap := settings.max_output_tokens

max_output_tokens contains cap if cap := settings.orgs[input.caller.org].max_output_tokens

max_output_tokens contains cap if cap := settings.teams[input.caller.team].max_output_tokens

# A fallback may be asked too, so the caps of all candidates count, under their alias and their own name.
max_output_tokens contains cap if {
	models := settings.models
	some candidate in input.candidates
	some name in [candidate.name, candidate.target]
	cap := models[name].max_output_tokens
}
