# May an answer about a patient be kept? Not by the cache, whatever turns it on elsewhere: for these callers, these models, or where
# such data was found.
package alfred.rules.no_store

import rego.v1

import data.alfred.rules.callers
import data.alfred.rules.patterns

cache contains {"ttl_seconds": 0} if {
	some setting in data.alfred.no_store.rules
	callers.bound(setting)
	patterns.fits(object.get(input.request, "model", ""), object.get(setting, "models", ["*"]))
	touched(setting)
}

touched(setting) if not setting.kinds

touched(setting) if {
	some kind in setting.kinds
	input.findings[kind] > 0
}
