// The conformance suite of the Gateway API as a program: `go test -c` makes it, and its flags say what runs.
package conformance_test

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) { conformance.RunConformance(t) }
