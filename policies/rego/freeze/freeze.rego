# Who may call during the release freeze, the audit or the incident? Between two instants nobody but those excepted and the keys
# that are named.
package alfred.rules.freeze

import rego.v1

import data.alfred.rules.callers

deny contains {"code": "policy_denied", "message": message} if {
	some setting in data.alfred.freeze.rules
	from := time.parse_rfc3339_ns(setting.from)
	until := time.parse_rfc3339_ns(setting.until)
	running(from, until)
	callers.bound(setting)
	not input.caller.key in object.get(setting, "keys", [])
	message := object.get(setting, "message", sprintf("calls are frozen until %s", [setting.until]))
}

# A call whose time is not known is within it.
running(from, until) if not past(from, until)

past(from, _) if input.time.unix_seconds * 1000000000 < from

past(_, until) if input.time.unix_seconds * 1000000000 >= until
