"""weft's own logs."""
