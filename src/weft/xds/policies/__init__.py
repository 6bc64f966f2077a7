"""Policies for Envoy: balancing, ejection and TLS."""
