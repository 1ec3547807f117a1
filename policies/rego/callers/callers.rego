# Whom does a setting speak of? Those in its `only`, or everyone, other than those in its `except`. Facts that are missing match
# nothing, so what protects is best written with `except`: a key that is nobody's stays bound.
package alfred.rules.callers

import rego.v1

bound(setting) if {
	not spared(setting)
	meant(setting)
}

meant(setting) if not setting.only

meant(setting) if among(setting.only)

spared(setting) if among(setting.except)

among(whom) if input.caller.org in whom.orgs

among(whom) if input.caller.team in whom.teams

among(whom) if {
	some group in input.caller.groups
	group in whom.groups
}

among(whom) if {
	some name, texts in whom.tags
	input.caller.tags[name] in texts
}

among(whom) if {
	some name, texts in whom.attributes
	attributes[name] in texts
}

# What is said of the user counts before what is said of the team, and that before what is said of the organisation.
attributes := object.union_n([object.get(said, level, {}) | some level in ["org", "team", "user"]])

said := object.get(input.caller, "attributes", {})
