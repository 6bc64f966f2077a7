"""The xDS server: sessions (pure), the hub that owns every proxy's snapshot, and the gRPC server in front of it."""
