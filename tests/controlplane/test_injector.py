"""The injector at work: others have their turn meanwhile."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from support.injection import SETTINGS, pod, review
from weft.controlplane import injector
from weft.controlplane.injector import Injector
from weft.inject.pod import Injected
from weft.inject.review import ALLOWED, Verdict, review_from_json
from weft.model.snapshot import ConfigSnapshot
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.testing.polling import eventually


async def test_others_have_their_turn_while_pods_are_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lasting = threading.Event()
    begun: list[None] = []

    def lasts(*_: object) -> tuple[Injected, Verdict]:
        begun.append(None)
        lasting.wait(60)
        return Injected(None, "it says so"), ALLOWED

    monkeypatch.setattr(injector, "admit", lasts)
    credentials = Credentials(KubeconfigFile(str(tmp_path / "none")).access)
    async with Injector(lambda: SETTINGS, lambda: ConfigSnapshot(1), credentials) as judge:
        asked = review_from_json(review(pod(), "shop"))
        judging = [asyncio.create_task(judge.review(asked)) for _ in range(5)]
        try:
            await eventually("both threads are at work", lambda: len(begun) == 2)
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert len(begun) == 2, "and few are at work"
            assert not any(each.done() for each in judging)
        finally:
            lasting.set()
        assert await asyncio.gather(*judging) == [ALLOWED] * 5


async def test_a_pod_whose_namespace_is_not_in_view_is_refused(tmp_path: Path) -> None:
    """It could not join the mesh; one that wants no sidecar is nobody's business."""
    credentials = Credentials(KubeconfigFile(str(tmp_path / "none")).access)
    snapshot = ConfigSnapshot(1, left_out=frozenset(("shop",)))
    wants = pod(labels={"sidecar.istio.io/inject": "true"})
    wants_none = pod(labels={"sidecar.istio.io/inject": "false"})
    async with Injector(lambda: SETTINGS, lambda: snapshot, credentials) as judge:
        refused = await judge.review(review_from_json(review(wants, "shop")))
        assert not refused.allowed
        assert refused.message.endswith("no discovery selector matches the labels of the namespace shop")
        assert (await judge.review(review_from_json(review(wants_none, "shop")))).allowed
        assert (await judge.review(review_from_json(review(wants, "other")))).allowed
