"""The agent: keys, certificates, Envoy and the registration of one workload, from start to ordered stop."""
