"""Views compiled to Envoy's resources, encoded once."""
