"""Routes for Envoy: route configurations, matches, actions and rewrites."""
