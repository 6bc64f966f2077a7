// Go's own resolver: lookup NAME... prints each address of each name, as NAME ADDRESS.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
)

func main() {
	resolver := &net.Resolver{PreferGo: true}
	for _, name := range os.Args[1:] {
		found, err := resolver.LookupHost(context.Background(), name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		for _, address := range found {
			fmt.Println(name, address)
		}
	}
}
