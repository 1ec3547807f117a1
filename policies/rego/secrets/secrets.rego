# May a prompt with a key or a card number in it go out at all? For these callers it is refused whole, rather than redacted, and
# answers are held to the same.
package alfred.rules.secrets

import rego.v1

import data.alfred.rules.callers

deny contains {"code": "policy_denied", "message": message} if {
	some setting in data.alfred.secrets.rules
	callers.bound(setting)
	some kind in setting.kinds
	input.findings[kind] > 0
	message := object.get(setting, "message", sprintf("%s was found in the request", [kind]))
}

actions contains table if {
	some setting in data.alfred.secrets.rules
	callers.bound(setting)
	table := {kind: "block" | some kind in setting.kinds}
}
