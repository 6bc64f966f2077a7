// A real Vault core with its PKI engine and AppRole on loopback, in memory: for trying weft against it.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	log "github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/pki"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// engines are the two that are built in.
type engines struct{}

func (engines) Contains(name string, kind consts.PluginType) bool {
	_, found := engines{}.Get(name, kind)
	return found
}

func (engines) Get(name string, kind consts.PluginType) (func() (interface{}, error), bool) {
	switch {
	case name == "pki" && kind == consts.PluginTypeSecrets:
		return func() (interface{}, error) { return logical.Factory(pki.Factory), nil }, true
	case name == "approle" && kind == consts.PluginTypeCredential:
		return func() (interface{}, error) { return logical.Factory(approle.Factory), nil }, true
	}
	return nil, false
}

func (engines) Keys(kind consts.PluginType) []string {
	switch kind {
	case consts.PluginTypeSecrets:
		return []string{"pki"}
	case consts.PluginTypeCredential:
		return []string{"approle"}
	}
	return nil
}

func (engines) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, true
}

func main() {
	logger := log.New(&log.LoggerOptions{Level: log.Warn})
	store, err := inmem.NewInmem(nil, logger)
	if err != nil {
		panic(err)
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           store,
		DisableMlock:       true,
		Logger:             logger,
		LogicalBackends:    map[string]logical.Factory{"pki": pki.Factory},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory},
		BuiltinRegistry:    engines{},
	})
	if err != nil {
		panic(err)
	}
	one := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	made, err := core.Initialize(context.Background(), &vault.InitParams{BarrierConfig: one})
	if err != nil {
		panic(err)
	}
	if _, err := core.Unseal(made.SecretShares[0]); err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %s\n", listener.Addr(), made.RootToken)
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core})
	panic(http.Serve(listener, handler))
}
