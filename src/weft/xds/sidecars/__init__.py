"""Sidecars for Envoy: the listeners of an application and of its way out."""
