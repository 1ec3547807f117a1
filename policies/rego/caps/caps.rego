# How long an answer may be. The lowest cap that applies counts.
package alfred.rules.caps

import rego.v1

max_output_tokens contains cap if cap := data.alfred.caps.max_output_tokens

max_output_tokens contains cap if cap := data.alfred.caps.orgs[input.caller.org].max_output_tokens

max_output_tokens contains cap if cap := data.alfred.caps.teams[input.caller.team].max_output_tokens

# A fallback may be asked too, so the caps of all candidates count, under their alias and their own name.
max_output_tokens contains cap if {
	some candidate in input.candidates
	some name in [candidate.name, candidate.target]
	cap := data.alfred.caps.models[name].max_output_tokens
}
