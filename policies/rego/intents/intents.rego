# Which model is good enough for which work? By what a request seems to be, how demanding it seems and how the budget stands, a call
# becomes another model. The first rule that fits counts; a guess that is not sure enough changes nothing.
package alfred.rules.intents

import rego.v1

import data.alfred.rules.callers
import data.alfred.rules.patterns

reroute contains model if model := fitting[0].to

routing contains sentence if {
	sentence := sprintf("%s at tier %d goes to %s", [input.request.intent, input.request.tier, fitting[0].to])
}

fitting := [setting |
	some setting in data.alfred.intents.rules
	input.request.intent_confidence >= object.get(setting, "min_confidence", 60)
	patterns.fits(input.request.intent, object.get(setting, "intents", ["*"]))
	input.request.tier in object.get(setting, "tiers", [1, 2, 3, 4])
	patterns.fits(input.request.model, object.get(setting, "models", ["*"]))
	object.get(input.budget, "left_percent", 100) < object.get(setting, "below_percent", 101)
	callers.bound(setting)
	setting.to != input.request.model
]
