# What a call becomes when a wallet is past a soft limit that wants a cheaper plan: the model that data names for the one that
# was asked for, the organisation's word before everyone's.
package alfred.rules.downgrade

import rego.v1

downgrade contains cheaper if {
	input.budget.downgrade == true
	settings := data.alfred.downgrade
	everyones := object.get(settings, "models", {})
	own := object.get(settings, ["orgs", input.caller.org, "models"], {})
	cheaper := object.union(everyones, own)[input.request.model]
}
