"""Random route documents, compiled, against a real Envoy: precedence, merging, conflicts, delegates, sessions."""

from __future__ import annotations

from pathlib import Path

from support.route_oracle import consult_routes


async def test_envoy_does_what_the_mesh_makes_of_random_documents(tmp_path: Path) -> None:
    found = await consult_routes(2000, 1, tmp_path)
    assert found.differences == []
    assert found.requests == 2000
    assert {"a", "b", "c", "404", "503", "500", "301"} <= found.outcomes.keys(), "all of it is tried"
