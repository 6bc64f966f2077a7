"""The agent's one endpoint for Prometheus: what Envoy counted under Istio's names, its own, the application's."""
