"""What an installation looks at before it changes something: a control plane that has its root on a volume."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest

from weft import __version__
from weft.cli.install import _settings, upgrade
from weft.cluster.install import Installer, Way, look, refusal
from weft.cluster.manifests import Features, Settings
from weft.sources.kubernetes.client import Answer, ApiError

NAMESPACE = "weft-system"
STATEFUL_SET = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/weft"
ROOT = f"/api/v1/namespaces/{NAMESPACE}/secrets/weft-ca"
LABELS = {"app.kubernetes.io/version": __version__, "app.kubernetes.io/managed-by": "Helm"}
FORMER = {"kind": "StatefulSet", "metadata": {"name": "weft", "namespace": NAMESPACE, "labels": LABELS}}


class Cluster:
    """An API server that has these objects, by path, and nothing else."""

    def __init__(self, objects: dict[str, Any]) -> None:
        self.objects = objects

    async def get(self, path: str, *_: object) -> Answer:
        """One object, or a list of none."""
        if path in self.objects:
            return Answer(json.dumps(self.objects[path]).encode())
        if "?" in path:
            return Answer(b'{"items": []}')
        raise ApiError("not found", 404)


@pytest.mark.parametrize(("secret", "refused"), [(False, True), (True, False)])
async def test_a_root_on_a_volume_is_not_left_behind(secret: bool, refused: bool) -> None:
    there = {STATEFUL_SET: FORMER} | ({ROOT: {"kind": "Secret"}} if secret else {})
    before = await look(Cluster(there), NAMESPACE)  # type: ignore[arg-type]
    why = refusal(before, NAMESPACE, take_over=True, force=False)
    assert ("there is no Secret weft-ca" in why) is refused, why


async def test_nothing_is_said_of_roots_where_nothing_is_installed() -> None:
    before = await look(Cluster({}), NAMESPACE)  # type: ignore[arg-type]
    assert not before.rootless


async def test_the_control_plane_before_does_not_stay_beside_the_new_one() -> None:
    cluster: Any = Cluster({STATEFUL_SET: FORMER, ROOT: {"kind": "Secret"}})
    before = await look(cluster, NAMESPACE)
    installer = Installer(cluster, Settings(NAMESPACE), before, Way(take_over=True), lambda _: None)
    left = await installer._left()
    assert [(each["kind"], each["metadata"]["name"]) for each in left] == [("StatefulSet", "weft")]


HELMS = {
    "kind": "Deployment",
    "metadata": {
        "name": "weft",
        "namespace": NAMESPACE,
        "labels": {**LABELS, "app.kubernetes.io/component": "control-plane", "app.kubernetes.io/part-of": "weft"},
    },
    "spec": {
        "replicas": 3,
        "template": {
            "spec": {
                "containers": [
                    {
                        "image": "registry.example:5000/weft:0.1.0",
                        "command": [
                            "weft", "serve", "--trust-domain=example.org", "--revision-tag=prod", "--cni",
                            "--sidecar-image=$(SIDECAR_IMAGE)", "--no-gateways",
                        ],
                    }
                ]
            }
        },
    },
}  # fmt: skip


class WithHelms(Cluster):
    """One with a control plane of Helm's."""

    async def get(self, path: str, *words: object) -> Answer:
        """One object, or a list."""
        if path.startswith("/apis/apps/v1/deployments?"):
            return Answer(json.dumps({"items": [HELMS]}).encode())
        return await super().get(path, *words)


async def test_what_is_taken_over_stays_as_it_was() -> None:
    there = {f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/weft": HELMS}
    apart: Any = WithHelms(there)
    why = refusal(await look(apart, NAMESPACE), NAMESPACE, take_over=True, force=False)
    assert "its agent of nodes is in another namespace than kube-system" in why
    cluster: Any = WithHelms({**there, "/apis/apps/v1/namespaces/kube-system/daemonsets/weft-cni": {}})
    before = await look(cluster, NAMESPACE)
    assert refusal(before, NAMESPACE, take_over=True, force=False) == ""
    known = before.settings(NAMESPACE)
    assert known == Settings(
        NAMESPACE,
        image="registry.example:5000/weft:0.1.0",
        trust_domain="example.org",
        replicas=3,
        features=Features(gateways=False, cni=True),
        revision_tags=("prod",),
    )


def given(*words: str) -> dict[str, Any]:
    """The options of a command line."""
    with upgrade.make_context("upgrade", list(words)) as context:
        return context.params


async def test_what_is_given_beside_a_takeover() -> None:
    cluster: Any = WithHelms({f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/weft": HELMS})
    before = await look(cluster, NAMESPACE)
    settings = _settings(given("--take-over", "--replicas=1", "--no-cni"), NAMESPACE, before)
    assert (settings.trust_domain, settings.replicas, settings.features.cni) == ("example.org", 1, False)
    assert settings.sidecar_image == "registry.example:5000/weft-proxy:0.1.0"
    with pytest.raises(click.UsageError, match=r"--trust-domain: it is example\.org and cannot be changed"):
        _settings(given("--take-over", "--trust-domain=cluster.local"), NAMESPACE, before)


async def test_an_agent_of_nodes_that_is_not_wanted_after_a_takeover_goes() -> None:
    agent = "/apis/apps/v1/namespaces/kube-system/daemonsets/weft-cni"
    there = {f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/weft": HELMS, agent: {"metadata": {}}}
    cluster: Any = WithHelms(there)
    before = await look(cluster, NAMESPACE)
    for words, ends in (((), False), (("--no-cni",), True)):
        settings = _settings(given("--take-over", *words), NAMESPACE, before)
        installer = Installer(cluster, settings, before, Way(take_over=True), lambda _: None)
        left = [f"{each.what}: {each.title}" for each in map(installer._end, await installer._left())]
        assert ("removed: DaemonSet kube-system/weft-cni" in left) is ends
