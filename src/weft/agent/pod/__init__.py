"""Pods: what the agent does in a pod of Kubernetes that it does nowhere else."""
