package alfred.rules.business_hours_test

import rego.v1

import data.alfred.rules.business_hours

week := ["monday", "tuesday", "wednesday", "thursday", "friday"]

desk(zone) := {"rules": [{
	"only": {"teams": ["team_desk"]},
	"zone": zone,
	"open": [{"days": week, "from": "08:00", "until": "18:00"}],
	"closed": ["2026-12-25"],
}]}

# 1795180814 is 2026-11-20 13:20:14 UTC, a Friday.
asked(seconds) := {"caller": {"org": "org_1", "team": "team_desk"}, "time": {"unix_seconds": seconds}}

test_open_hours_are_open if {
	count(business_hours.deny) == 0 with input as asked(1795180814) with data.alfred.business_hours as desk("UTC")
}

test_the_zone_s_clock_and_weekday_count if {
	# 22:20 in Tokyo; and 20:20 UTC on Sunday is Monday morning in Auckland.
	count(business_hours.deny) == 1 with input as asked(1795180814) with data.alfred.business_hours as desk("Asia/Tokyo")
	sunday := asked(1795180814 + 198000)
	count(business_hours.deny) == 1 with input as sunday with data.alfred.business_hours as desk("UTC")
	count(business_hours.deny) == 0 with input as sunday with data.alfred.business_hours as desk("Pacific/Auckland")
}

test_the_first_minute_is_open_and_the_last_is_closed if {
	count(business_hours.deny) == 1 with input as asked(1795161599) with data.alfred.business_hours as desk("UTC")
	count(business_hours.deny) == 0 with input as asked(1795161600) with data.alfred.business_hours as desk("UTC")
	count(business_hours.deny) == 0 with input as asked(1795197599) with data.alfred.business_hours as desk("UTC")
	count(business_hours.deny) == 1 with input as asked(1795197600) with data.alfred.business_hours as desk("UTC")
}

test_a_closed_day_is_closed if {
	# 2026-12-25 12:00 UTC, a Friday.
	count(business_hours.deny) == 1 with input as asked(1798200000) with data.alfred.business_hours as desk("UTC")
}

test_others_are_not_bound if {
	other := {"caller": {"org": "org_1"}, "time": {"unix_seconds": 1795197600}}
	count(business_hours.deny) == 0 with input as other with data.alfred.business_hours as desk("UTC")
	count(business_hours.deny) == 0 with input as asked(1795197600) with data.alfred.business_hours as {}
}

test_the_message_is_the_author_s if {
	settings := {"rules": [{"zone": "UTC", "open": [], "message": "the desk is closed"}]}
	some reason in business_hours.deny with input as asked(1795180814) with data.alfred.business_hours as settings
	reason == {"code": "policy_denied", "message": "the desk is closed"}
}
