// CoreDNS with what a cluster's DNS needs, and what the suite of the Gateway API asks of it beside.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/whoami"
)

func main() {
	// A query passes the plugins in this order.
	dnsserver.Directives = []string{"health", "ready", "errors", "log", "cache", "kubernetes", "forward", "whoami"}
	coremain.Run()
}
