# Who pays for this call? Without a project, a cost centre or whatever is required, nothing is called. What an admin says of the key
# counts first; what the client claims counts where the settings trust it.
package alfred.rules.chargeback

import rego.v1

import data.alfred.rules.callers

deny contains {"code": "policy_denied", "message": message} if {
	some setting in data.alfred.chargeback.rules
	callers.bound(setting)
	not named(setting)
	message := object.get(setting, "message", sprintf("this call must say its %s", [setting.tag]))
}

tags contains tag if {
	some setting in data.alfred.chargeback.rules
	callers.bound(setting)
	not input.caller.tags[setting.tag]
	text := claimed(setting)
	tag := {setting.tag: text}
}

named(setting) if valid(setting, input.caller.tags[setting.tag])

named(setting) if {
	not input.caller.tags[setting.tag]
	claimed(setting)
}

claimed(setting) := text if {
	setting.claims == true
	text := input.request.claims[setting.tag]
	valid(setting, text)
}

valid(setting, text) if {
	text != ""
	text in object.get(setting, "values", [text])
}
