"""Secrets at rest: values of the store that are kept encrypted, and the keys that encrypt them."""
