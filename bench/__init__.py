"""Measurements of weft against yardsticks of the same run: ``./run bench``."""
