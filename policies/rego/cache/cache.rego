# Whether an answer may be kept. Off unless data turns it on for everyone, the org or the model; "enabled": false at
# any of them (a time of 0 here) turns it off whatever the others say, and the shortest time counts.
package alfred.rules.cache

import rego.v1

cache contains {"ttl_seconds": seconds} if {
	settings := data.alfred.cache
	some level in [
		settings,
		object.get(settings, ["orgs", input.caller.org], {}),
		object.get(settings, ["models", input.request.model], {}),
	]
	seconds := kept(level)
}

kept(level) := level.ttl_seconds if level.enabled == true

kept(level) := 0 if level.enabled == false
