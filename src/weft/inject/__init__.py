"""Injection: a pod with its sidecar from a pod without one, as a function of the pod and the settings, and back."""
