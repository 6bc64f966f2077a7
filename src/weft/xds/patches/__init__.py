"""EnvoyFilter's patches, applied to encoded resources."""
