"""What the control plane tells Kubernetes: status, events, and the words of admission."""
