"""The DNS responder of the agent: a process of its own that answers the names of the mesh and relays all others."""
