# Which targets a key may use: every configured one, or those that its allow list names, by the name the caller wrote
# (an alias or provider/model) or by the target's own.
package alfred.rules.models

import rego.v1

allow contains target if {
	input.caller.models == null
	some candidate in input.candidates
	target := candidate.target
}

allow contains target if {
	is_array(input.caller.models)
	some candidate in input.candidates
	listed(candidate)
	target := candidate.target
}

listed(candidate) if candidate.name in input.caller.models

listed(candidate) if candidate.target in input.caller.models

deny contains {"code": "model_not_allowed", "message": message} if {
	count(allow) == 0
	message := sprintf("this key may not use the model %s", [input.request.model])
}
