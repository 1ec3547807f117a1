# Why the targets come in the order they have. The configured order is kept.
package alfred.rules.routing

import rego.v1

routing contains "configured order"
