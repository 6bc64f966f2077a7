"""The agent of a node of Kubernetes: it captures the connections of pods, when a runtime has made their networks."""
