"""What an Envoy that carries several workloads is given: what their sidecars would be, side by side."""
