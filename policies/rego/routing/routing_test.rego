package alfred.rules.routing_test

import rego.v1

import data.alfred.rules.routing.routing

test_the_configured_order_is_kept if routing == {"configured order"}
