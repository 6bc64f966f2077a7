"""Kubernetes: the documents of an API server, followed by list and watch."""
