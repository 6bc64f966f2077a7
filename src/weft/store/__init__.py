"""Durable state: documents, workload leases, join tokens. One protocol, several back ends."""
