"""Packages of weft: a deb, an rpm, and a single file; see ``docs/services.md``."""
