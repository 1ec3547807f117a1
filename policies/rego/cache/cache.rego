# Whether an answer may be kept. Off unless data turns it on for everyone, the org or the model; "enabled": false at
# any of them (a time of 0 here) turns it off whatever the others say, and the shortest time counts.
package alfred.rules.cache

import rego.v1

settings := data.alfred.cache

cache contains {"ttl_seconds": seconds} if seconds := kept(settings)

cache contains {"ttl_seconds": seconds} if seconds := kept(settings.orgs[input.caller.org])

cache contains {"ttl_seconds": seconds} if seconds := kept(settings.models[input.request.model])

kept(setting) := setting.ttl_seconds if setting.enabled == true

kept(setting) := 0 if setting.enabled == false
