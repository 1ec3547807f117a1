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
		row := [nth(setting, it, 0), nth(setting, it, 1), nth(setting, it, 2), nth(setting, it, 3), at, it.target]
	]
	targets := [row[5] | some row in sort(rows)]
}

fitting := [setting |
	some setting in data.alfred.preference.rules
	patterns.fits(input.request.model, object.get(setting, "models", ["*"]))
	callers.bound(setting)
]

# There are four wishes.
nth(setting, it, n) := rank(setting, it, setting.by[n])

nth(setting, _, n) := 0 if n >= count(setting.by)

rank(_, it, "healthy") := 0 if it.healthy == true

rank(_, it, "healthy") := 1 if not it.healthy == true

rank(setting, it, "provider") := place(object.get(setting, "providers", []), object.get(it, "provider", ""))

rank(setting, it, "region") := place(object.get(setting, "regions", []), object.get(it, "region", ""))

# Without a price it comes last.
rank(_, it, "price") := to_number(object.get(it, "price_output", "1000000000"))

# Where a name stands in a list; behind all when it does not.
place(list, name) := min({at |
	some at
	list[at] == name
})

place(list, name) := count(list) if not name in list
