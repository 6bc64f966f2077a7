"""Signals for Envoy: the access loggers and tracers of a listener, each in a file of its own, and their one list."""
