"""Findings: what `weft check` and `weft analyze` say, and what each code means. Pure."""
