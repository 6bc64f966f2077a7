"""Gateways in mesh words: listeners, the routes attached to them, and the view of a gateway proxy."""
