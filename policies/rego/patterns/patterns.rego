# Does a name fit one of these? A pattern is the name itself or, with a star at its end, how the name begins.
package alfred.rules.patterns

import rego.v1

fits(name, list) if name in list

fits(name, list) if {
	some pattern in list
	endswith(pattern, "*")
	startswith(name, trim_suffix(pattern, "*"))
}

# A model may be named as it was asked for or as the target that it is.
candidate(it, list) if fits(it.target, list)

candidate(it, list) if fits(it.name, list)
