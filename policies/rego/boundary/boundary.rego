# May this client's data leave its country? Where a call may go by what is said of its owner: by group, team or tag, and by the
# country that an attribute names. Whose attribute is missing or unknown goes where `otherwise` says, or nowhere.
package alfred.rules.boundary

import rego.v1

import data.alfred.rules.callers

regions contains bound if {
	some setting in data.alfred.boundary.rules
	callers.bound(setting)
	bound := setting.regions
}

regions contains bound if {
	setting := data.alfred.boundary.attribute
	value := object.get(callers.attributes, setting.name, "")
	bound := object.get(setting.regions, value, object.get(setting, "otherwise", []))
}
