# How large may a prompt be? Nobody pastes a whole client file by accident. A size that is not known is too large.
package alfred.rules.prompt_size

import rego.v1

import data.alfred.rules.callers
import data.alfred.rules.patterns

deny contains {"code": "policy_denied", "message": message} if {
	some setting in data.alfred.prompt_size.rules
	callers.bound(setting)
	patterns.fits(object.get(input.request, "model", ""), object.get(setting, "models", ["*"]))
	not small(setting)
	message := object.get(setting, "message", sprintf("the prompt is longer than %d tokens", [setting.max_input_tokens]))
}

small(setting) if input.request.input_tokens <= setting.max_input_tokens
