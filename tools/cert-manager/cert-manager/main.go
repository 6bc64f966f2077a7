// cert-manager: the controllers of issuers by an authority in a Secret, the approver, and the webhook, in one process,
// each as its own account.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/cert-manager/cert-manager/internal/apis/config/shared"
	config "github.com/cert-manager/cert-manager/internal/apis/config/webhook"
	"github.com/cert-manager/cert-manager/internal/webhook"
	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	requests "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	signing "github.com/cert-manager/cert-manager/pkg/controller/certificatesigningrequests/ca"
	"github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	"github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca" // says when such an issuer is ready
	logf "github.com/cert-manager/cert-manager/pkg/logs"
)

const workers = 2

func main() {
	flags := flag.NewFlagSet("cert-manager", flag.ExitOnError) // the usual one has those of what is imported
	controllers := flags.String("kubeconfig", "", "whose API server, and as whom the controllers ask it")
	admission := flags.String("webhook-kubeconfig", "", "the same for the webhook")
	namespace := flags.String("cluster-resource-namespace", "cert-manager", "where the Secrets of ClusterIssuers are")
	port := flags.Int("webhook-port", 0, "where the webhook listens")
	health := flags.Int("health-port", 0, "where the webhook's health is told")
	certificate := flags.String("webhook-certificate", "", "by which the webhook proves itself")
	key := flags.String("webhook-key", "", "its key")
	_ = flags.Parse(os.Args[1:])
	logf.InitLogs()
	ctx, stop := signal.NotifyContext(logf.NewContext(context.Background(), logf.Log), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return control(ctx, *controllers, *namespace) })
	group.Go(func() error {
		files := shared.FilesystemServingConfig{CertFile: *certificate, KeyFile: *key}
		return admit(ctx, config.WebhookConfiguration{
			SecurePort:           int32(*port),
			HealthzPort:          int32(*health),
			TLSConfig:            shared.TLSConfig{Filesystem: files},
			KubeConfig:           *admission,
			MetricsListenAddress: "0",
		})
	})
	if err := group.Wait(); err != nil {
		fmt.Fprintln(os.Stderr, "cert-manager:", err)
		os.Exit(1)
	}
}

// control runs the controllers until ctx ends.
func control(ctx context.Context, kubeconfig, namespace string) error {
	factory, err := controller.NewContextFactory(ctx, controller.ContextOptions{
		Kubeconfig:         kubeconfig,
		KubernetesAPIQPS:   20,
		KubernetesAPIBurst: 50,
		IssuerOptions:      controller.IssuerOptions{ClusterResourceNamespace: namespace},
	})
	if err != nil {
		return err
	}
	common, err := factory.Build()
	if err != nil {
		return err
	}
	names := []string{
		issuers.ControllerName, clusterissuers.ControllerName, approver.ControllerName,
		requests.CRControllerName, signing.CSRControllerName,
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range names {
		one, err := controller.Known()[name](factory)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		group.Go(func() error { return one.Run(workers, ctx) })
	}
	common.SharedInformerFactory.Start(ctx.Done())
	common.KubeSharedInformerFactory.Start(ctx.Done())
	return group.Wait()
}

// admit runs the webhook until ctx ends.
func admit(ctx context.Context, settings config.WebhookConfiguration) error {
	server, err := webhook.NewCertManagerWebhookServer(logf.Log, settings)
	if err != nil {
		return err
	}
	return server.Run(ctx)
}
