"""Matching of requests, which is the product's (`weft.explain.matching`): its oracle is a real Envoy."""

from __future__ import annotations

from weft.explain.matching import (
    Request,
    query_of,
    request_matches,
    rewritten_path,
    text_matches,
    virtual_host_of,
)

__all__ = ["Request", "query_of", "request_matches", "rewritten_path", "text_matches", "virtual_host_of"]
