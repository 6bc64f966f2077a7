"""What `weft check` finds in a Kubernetes cluster: whether weft can be installed there, and whether it works."""
