"""Services for Envoy: clusters and endpoints."""
