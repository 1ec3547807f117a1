# What may a pupil do? Everyone but those excepted counts as a minor: no images, no tools, only the models that are named, and
# whatever is found of personal data stops the call.
package alfred.rules.minors

import rego.v1

import data.alfred.rules.callers
import data.alfred.rules.patterns

young if {
	data.alfred.minors
	callers.bound(data.alfred.minors)
}

allow contains target if {
	not young
	some it in input.candidates
	target := it.target
}

allow contains target if {
	young
	some it in input.candidates
	patterns.candidate(it, data.alfred.minors.models)
	target := it.target
}

deny contains {"code": "policy_denied", "message": "pupils may not send images"} if {
	young
	not "images" in object.get(data.alfred.minors, "may", [])
	not input.request.images == false
}

deny contains {"code": "policy_denied", "message": "pupils may not use tools"} if {
	young
	not "tools" in object.get(data.alfred.minors, "may", [])
	not input.request.tools == false
}

actions contains table if {
	young
	table := {kind: "block" | some kind in ["email", "payment_card", "iban", "us_ssn", "phone", "api_key"]}
}

max_output_tokens contains cap if {
	young
	cap := data.alfred.minors.max_output_tokens
}
