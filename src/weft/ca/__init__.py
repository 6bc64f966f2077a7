"""The certificate authority: SPIFFE certificates from authenticated identities, and one-time join tokens."""
