// Go's own resolver: lookup NAME prints each address of the name on a line of its own.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
)

func main() {
	resolver := &net.Resolver{PreferGo: true}
	found, err := resolver.LookupHost(context.Background(), os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(strings.Join(found, "\n"))
}
