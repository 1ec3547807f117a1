# Which vendors may see our data? Providers that are banned, or are not on the list, are no targets, failover included.
package alfred.rules.vendors

import rego.v1

import data.alfred.rules.callers
import data.alfred.rules.patterns

allow contains target if {
	not data.alfred.vendors
	some it in input.candidates
	target := it.target
}

allow contains target if {
	settings := data.alfred.vendors
	some it in input.candidates
	every setting in settings.rules {
		admitted(setting, it)
	}
	target := it.target
}

admitted(setting, _) if not callers.bound(setting)

admitted(setting, it) if {
	patterns.fits(it.provider, object.get(setting, "allow", ["*"]))
	not patterns.fits(it.provider, object.get(setting, "deny", []))
}
