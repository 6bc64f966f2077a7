//go:build tools

// Package tools names the programs, so that go.mod keeps what they need.
package tools

import (
	_ "istio.io/istio/pkg/test/echo/cmd/client"
	_ "istio.io/istio/pkg/test/echo/cmd/server"
)
