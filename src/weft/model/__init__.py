"""Values that every stage shares: documents, workloads, identities, problems. Pure: no I/O, no clock."""
