"""The Envoy that judges has every file that a proxy's configuration names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.views import sidecar
from weft.controlplane.envoy_judge import EnvoyJudge
from weft.mesh.memo import Memo
from weft.xds.patches.trial import question_about


@pytest.mark.parametrize("secret", [False, True])
async def test_a_sidecar_as_it_is_is_taken_also_one_that_asks_for_its_secret(secret: bool, tmp_path: Path) -> None:
    judge = EnvoyJudge(tmp_path)
    chain, key = judge.stand_in
    question = question_about(sidecar(secret=secret), Memo(), chain=chain, key=key)
    assert await judge.refusal(question.bootstrap) == ""
    assert os.listdir(tmp_path) == [], "it leaves nothing behind"  # noqa: PTH208
