package alfred.rules.patterns_test

import rego.v1

import data.alfred.rules.patterns

test_a_name_fits_itself_or_its_beginning if {
	patterns.fits("gpt-4o", ["gpt-4o"])
	patterns.fits("gpt-4o", ["claude-*", "gpt-*"])
	patterns.fits("anything", ["*"])
}

test_other_names_do_not_fit if {
	not patterns.fits("gpt-4o", [])
	not patterns.fits("gpt-4o", ["gpt-4", "gpt-4o-mini", "*-4o", "g*o"])
	not patterns.fits("", ["a*"])
}

test_a_candidate_fits_by_its_name_or_its_target if {
	it := {"name": "gpt-4o", "target": "azure/gpt-4o"}
	patterns.candidate(it, ["gpt-4o"])
	patterns.candidate(it, ["azure/*"])
	not patterns.candidate(it, ["openai/*"])
}
