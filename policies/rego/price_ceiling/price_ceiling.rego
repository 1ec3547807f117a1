# What may a million tokens cost at most? Dearer targets, and those without a price, are left out.
package alfred.rules.price_ceiling

import rego.v1

import data.alfred.rules.callers

allow contains target if {
	not data.alfred.price_ceiling
	some it in input.candidates
	target := it.target
}

allow contains target if {
	settings := data.alfred.price_ceiling
	some it in input.candidates
	every setting in settings.rules {
		admitted(setting, it)
	}
	target := it.target
}

admitted(setting, _) if not callers.bound(setting)

admitted(setting, it) if {
	within(object.get(it, "price_input", "unknown"), object.get(setting, "max_input_usd", "none"))
	within(object.get(it, "price_output", "unknown"), object.get(setting, "max_output_usd", "none"))
}

within(_, most) if most == "none"

within(price, most) if {
	price != "unknown"
	most != "none"
	to_number(price) <= to_number(most)
}
