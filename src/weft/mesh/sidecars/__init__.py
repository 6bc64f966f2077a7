"""Sidecars in mesh words: the ports of an application, and what it may call."""
