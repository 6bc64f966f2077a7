"""Random rules for connections: a real Envoy carries them as the verdict says."""

from __future__ import annotations

from support.layer4_oracle import consult


async def test_envoy_and_the_verdict_agree_on_connections() -> None:
    outcome = await consult(2000, seed=9)
    assert outcome.disagreements == []
    assert outcome.connections >= 1900
    assert 100 < outcome.closed < outcome.connections - 100
