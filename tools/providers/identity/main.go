// Command identity is an OpenID provider for tests: Zitadel's certified library with its in-memory storage, on loopback.
package main

import (
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
)

func main() {
	port := flag.Int("port", 9998, "the port on loopback")
	client := flag.String("client", "web", "the client's id")
	redirects := flag.String("redirects", "", "the client's redirect URIs, separated by commas")
	users := flag.String("users", "", "a JSON file of users")
	flag.Parse()
	issuer := fmt.Sprintf("http://localhost:%d/", *port)
	storage.RegisterClients(storage.WebClient(*client, os.Getenv("CLIENT_SECRET"), strings.Split(*redirects, ",")...))
	known, err := storage.StoreFromFile(*users)
	if err != nil {
		log.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	handler := exampleop.SetupServer(issuer, storage.NewStorage(known), logger, false)
	log.Printf("the issuer is %s", issuer)
	log.Fatal(http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", *port), handler))
}
