"""One file per Envoy HTTP filter, and `chain`, the one ordered list of them."""
