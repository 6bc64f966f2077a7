"""Capture that an application cannot get round: a network namespace of its own, whose only way out is a relay

(on Linux, without root). The relay and what starts the application run without weft's packages, so that they are small.
"""
