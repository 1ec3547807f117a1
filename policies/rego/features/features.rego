# What may a call be at all: streamed, with images, with tools; a conversation, or also an upload, a batch, a live session? What a
# request does not say of itself counts as asked for.
package alfred.rules.features

import rego.v1

import data.alfred.rules.callers
import data.alfred.rules.patterns

deny contains {"code": "policy_denied", "message": message} if {
	some setting in data.alfred.features.rules
	callers.bound(setting)
	some feature in object.get(setting, "refuse", [])
	not without(feature)
	message := object.get(setting, "message", sprintf("calls with %s are not allowed here", [feature]))
}

deny contains {"code": "policy_denied", "message": message} if {
	some setting in data.alfred.features.rules
	callers.bound(setting)
	not patterns.fits(object.get(input.request, "kind", ""), object.get(setting, "kinds", ["*"]))
	message := object.get(setting, "message", "calls of this kind are not allowed here")
}

without(feature) if {
	feature == "stream"
	input.request.stream == false
}

without(feature) if {
	feature == "images"
	input.request.images == false
}

without(feature) if {
	feature == "tools"
	input.request.tools == false
}
