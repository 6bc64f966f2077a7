"""Access in Envoy's words: conditions as RBAC permissions and principals, for requests and for connections."""
