"""Codes of policies about health, fallbacks, ejection and overload."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

RESILIENCE = (
    error(
        1450,
        "no-fallback",
        "A Service that a FallbackPolicy names cannot stand in for the one that it is for: its instances are outside "
        "the mesh, it speaks another protocol, or it is the same. It is left out.",
        "port 9080 of Service default/reviews would fall back to itself",
        "Name a Service of the mesh whose port carries the same.",
    ),
    error(
        1451,
        "unknown-section",
        "A policy is for a port or a subset that the Service does not have, so it is not in force there.",
        "Service default/reviews has no port or subset 'v9'",
        "Name a port as the Service does (by name or number), or a subset of its DestinationRule.",
    ),
    warning(
        1452,
        "other-protocol",
        "A policy is for a port that carries something else than it is about, so it leaves the port alone.",
        "port 5432 of Service default/db carries tcp, so it is left alone",
        "Name the port that is meant in `sectionName`, or choose a check by tcp.",
    ),
)
