# May the trading desk use models at night? Only within the hours and on the days that are open, by the clock of a place.
package alfred.rules.business_hours

import rego.v1

import data.alfred.rules.callers

deny contains {"code": "policy_denied", "message": message} if {
	some setting in data.alfred.business_hours.rules
	now := at(setting.zone)
	callers.bound(setting)
	not open(setting, now)
	message := object.get(setting, "message", "outside business hours")
}

at(zone) := {"day": day, "date": date, "clock": clock} if {
	moment := [input.time.unix_seconds * 1000000000, zone]
	day := lower(time.weekday(moment))
	date := sprintf("%04d-%02d-%02d", time.date(moment))
	hands := time.clock(moment)
	clock := sprintf("%02d:%02d", [hands[0], hands[1]])
}

open(setting, now) if {
	not now.date in object.get(setting, "closed", [])
	some hours in setting.open
	now.day in hours.days
	now.clock >= hours.from
	now.clock < hours.until
}
