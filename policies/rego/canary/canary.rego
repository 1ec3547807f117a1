# How does a new deployment earn trust? With five calls in a hundred. How often which target of a model comes first; the others stand
# behind it.
package alfred.rules.canary

import rego.v1

import data.alfred.rules.callers

weights contains shares if {
	setting := data.alfred.canary.models[input.request.model]
	callers.bound(setting)
	shares := {it.target: share |
		some it in input.candidates
		share := setting.targets[it.target]
	}
	sum([share | some share in shares]) > 0
}
