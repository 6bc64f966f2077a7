//go:build tools

// Package tools names a package of the module, so that go.mod keeps it.
package tools

import _ "istio.io/api/label"
