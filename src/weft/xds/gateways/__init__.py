"""Gateways for Envoy: listeners, routes and certificates."""
