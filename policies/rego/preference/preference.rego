# Which target comes first: the healthy one, the nearest, the one we have a contract with, the cheapest? The first rule that speaks of
# a caller and a model counts; its wishes in their order, and then the configured order.
package alfred.rules.preference

import rego.v1

import data.alfred.rules.callers
import data.alfred.rules.patterns

order contains targets if {
	setting := fitting[0]
	rows := [row |
		some at
		it := input.candidates[at]
		ranks := [rank(setting, it, wish) | some wish in setting.by]
		row := [ranks, at, it.target]
	]
	targets := [row[2] | some row in sort(rows)]
}

fitting := [setting |
	some setting in data.alfred.preference.rules
	patterns.fits(input.request.model, object.get(setting, "models", ["*"]))
	callers.bound(setting)
]

rank(_, it, "healthy") := 0 if it.healthy == true

rank(_, it, "healthy") := 1 if not it.healthy == true

rank(setting, it, "provider") := place(object.get(setting, "providers", []), it.provider)

rank(setting, it, "region") := place(object.get(setting, "regions", []), it.region)

# Without a price it comes last.
rank(_, it, "price") := to_number(object.get(it, "price_output", "1000000000"))

# Where a name stands in a list; behind all when it does not.
place(list, name) := min({at |
	some at
	list[at] == name
})

place(list, name) := count(list) if not name in list
