"""Trouble on purpose: the demo under load while everything around its requests changes: ``./run chaos``."""
