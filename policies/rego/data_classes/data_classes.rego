# Which models may see patient data? What an admin says of the key, the user, the team or the organisation gives a call its class,
# and what was found in it adds others; every class must admit the target. Without a class it is the default; an unknown one
# admits nothing.
package alfred.rules.data_classes

import rego.v1

import data.alfred.rules.callers
import data.alfred.rules.patterns

allow contains target if {
	not data.alfred.data_classes
	some it in input.candidates
	target := it.target
}

allow contains target if {
	classes := data.alfred.data_classes.classes
	some it in input.candidates
	every class in held {
		patterns.candidate(it, classes[class].models)
	}
	target := it.target
}

regions contains bound if {
	classes := data.alfred.data_classes.classes
	some class in held
	bound := classes[class].regions
}

held contains class if {
	settings := data.alfred.data_classes
	of_owner := object.get(callers.attributes, settings.name, settings.default)
	class := object.get(object.get(input.caller, "tags", {}), settings.name, of_owner)
}

held contains class if {
	some kind, class in data.alfred.data_classes.findings
	input.findings[kind] > 0
}
