"""Docker Compose: ordinary compose files as a mesh, without editing them."""
