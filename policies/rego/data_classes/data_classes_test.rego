package alfred.rules.data_classes_test

import rego.v1

import data.alfred.rules.data_classes

settings := {
	"name": "data_class",
	"default": "internal",
	"classes": {
		"public": {"models": ["*"]},
		"internal": {"models": ["azure/*", "local/*"]},
		"patient": {"models": ["local/*"], "regions": ["ch"]},
	},
	"findings": {"us_ssn": "patient"},
}

everything := {"openai/gpt-4o", "azure/gpt-4o", "local/llama"}

candidates := [{"name": "m", "target": target} | some target in everything]

asked(tags, attributes, findings) := {
	"caller": {"org": "org_1", "tags": tags, "attributes": {"org": attributes, "team": {}, "user": {}}},
	"candidates": candidates,
	"findings": findings,
}

check(tags, attributes, findings, expected) if {
	data_classes.allow == expected with input as asked(tags, attributes, findings) with data.alfred.data_classes as settings
}

test_the_class_decides_which_models if {
	check({"data_class": "public"}, {}, {}, everything)
	check({"data_class": "internal"}, {}, {}, {"azure/gpt-4o", "local/llama"})
	check({"data_class": "patient"}, {}, {}, {"local/llama"})
}

test_without_a_class_it_is_the_default if check({}, {}, {}, {"azure/gpt-4o", "local/llama"})

test_the_key_s_class_counts_before_that_of_its_owner if {
	check({}, {"data_class": "patient"}, {}, {"local/llama"})
	check({"data_class": "public"}, {"data_class": "patient"}, {}, everything)
}

test_a_finding_only_makes_it_stricter if {
	check({"data_class": "public"}, {}, {"us_ssn": 1}, {"local/llama"})
	check({"data_class": "public"}, {}, {"us_ssn": 0, "email": 3}, everything)
}

test_an_unknown_class_admits_nothing if check({"data_class": "secret"}, {}, {}, set())

test_a_class_may_bind_regions if {
	patient := asked({"data_class": "patient"}, {}, {})
	data_classes.regions == {["ch"]} with input as patient with data.alfred.data_classes as settings
	count(data_classes.regions) == 0 with input as asked({}, {}, {}) with data.alfred.data_classes as settings
}

test_without_settings_every_target_is_admitted if {
	call := asked({}, {}, {})
	data_classes.allow == everything with input as call
}
