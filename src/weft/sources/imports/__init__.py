"""Imports: services and instances that another registry knows, as documents of the mesh."""
