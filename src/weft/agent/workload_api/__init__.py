"""The SPIFFE Workload API of a workload: its application asks its agent for identities and trust bundles."""
