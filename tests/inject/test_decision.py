"""Whether a pod gets a sidecar: what namespaces and pods say, in Istio's words and in weft's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.injection import SETTINGS, pod
from weft.inject.decision import Namespace
from weft.inject.pod import inject_pod, uninject_pod
from weft.inject.settings import InjectionSettings


def injected(
    labels: dict[str, str],
    of_namespace: dict[str, str],
    annotations: dict[str, str] | None = None,
    settings: InjectionSettings = SETTINGS,
    name: str = "shop",
) -> tuple[bool, str]:
    done = inject_pod(pod(labels=labels, annotations=annotations or {}), Namespace(name, of_namespace), settings)
    return done.pod is not None, done.reason


ISTIO, OWN, INJECT = "istio-injection", "weft.dev/injection", "sidecar.istio.io/inject"


@pytest.mark.parametrize(
    ("labels", "of_namespace", "yes"),
    [
        ({}, {}, False),
        ({}, {ISTIO: "enabled"}, True),
        ({}, {OWN: "enabled"}, True),
        ({}, {ISTIO: "disabled"}, False),
        ({}, {ISTIO: "enabled", OWN: "disabled"}, False),  # ours goes first: a namespace moves from one to the other
        ({}, {ISTIO: "disabled", OWN: "enabled"}, True),
        ({INJECT: "false"}, {ISTIO: "enabled"}, False),
        ({INJECT: "no"}, {ISTIO: "enabled"}, False),
        ({OWN: "disabled"}, {ISTIO: "enabled"}, False),
        ({OWN: "enabled", INJECT: "false"}, {ISTIO: "enabled"}, False),
        ({INJECT: "true"}, {}, True),
        ({OWN: "enabled"}, {}, True),
        ({INJECT: "true"}, {ISTIO: "disabled"}, False),
        ({}, {"istio.io/rev": "default"}, True),
        ({}, {"istio.io/rev": "canary"}, False),
        ({}, {"istio.io/rev": "canary", "weft.dev/rev": "default"}, True),
        ({}, {"istio.io/rev": "canary", ISTIO: "enabled"}, True),  # as with Istio, the word goes before the revision
        ({"istio.io/rev": "default"}, {}, True),
        ({"weft.dev/rev": "canary"}, {}, False),
        ({"istio.io/rev": "canary"}, {ISTIO: "enabled"}, True),
    ],
)
def test_what_labels_say(labels: dict[str, str], of_namespace: dict[str, str], yes: bool) -> None:
    assert injected(labels, of_namespace)[0] is yes


def test_another_revision_injects_what_names_it() -> None:
    canary = InjectionSettings(SETTINGS.image, SETTINGS.server, SETTINGS.fingerprint, revision="canary")
    assert injected({}, {"istio.io/rev": "canary"}, settings=canary)[0]
    assert injected({"weft.dev/rev": "canary"}, {}, settings=canary)[0]
    yes, reason = injected({}, {ISTIO: "enabled"}, settings=canary)
    assert (yes, reason) == (False, "it is for the revision default, and this is canary")


def test_a_revision_that_the_namespace_overrides_is_told() -> None:
    done = inject_pod(pod(labels={"istio.io/rev": "canary"}), Namespace("shop", {ISTIO: "enabled"}), SETTINGS)
    assert done.pod is not None
    assert [one.message for one in done.problems] == [
        "the revision canary has no effect: the namespace shop says default"
    ]


def test_a_label_wins_over_an_annotation() -> None:
    enabled = {ISTIO: "enabled"}
    assert not injected({}, enabled, {INJECT: "false"})[0]
    assert injected({INJECT: "true"}, enabled, {INJECT: "false"})[0]
    assert not injected({INJECT: "false"}, enabled, {INJECT: "true"})[0]


@pytest.mark.parametrize("name", ["kube-system", "kube-public", "kube-node-lease", "weft-system"])
def test_the_clusters_own_namespaces(name: str) -> None:
    yes, reason = injected({INJECT: "true"}, {OWN: "enabled"}, name=name)
    assert (yes, reason) == (False, f"pods of the namespace {name} get no sidecar")


def test_a_word_that_is_none_is_refused() -> None:
    done = inject_pod(pod(labels={INJECT: "flase"}), Namespace("shop", {ISTIO: "enabled"}), SETTINGS)
    assert done.pod is None
    [problem] = done.problems
    assert problem.code == "injection-refused"
    assert "'sidecar.istio.io/inject: flase' does not say whether" in problem.message


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"hostNetwork": True}, "it uses the network of its node"),
        (
            {"initContainers": [{"name": "weft-proxy", "restartPolicy": "Always"}]},
            "it has a container weft-proxy already",
        ),
        ({"containers": [{"name": "web"}, {"name": "istio-proxy"}]}, "the sidecar istio-proxy of another mesh"),
    ],
)
def test_pods_that_are_left_alone(spec: dict[str, Any], reason: str) -> None:
    done = inject_pod(pod(**spec), Namespace("shop", {ISTIO: "enabled"}), SETTINGS)
    assert done.pod is None
    assert reason in done.reason


def test_by_hand_a_namespace_is_not_asked() -> None:
    assert inject_pod(pod(), Namespace("shop"), SETTINGS).pod is not None
    assert inject_pod(pod(labels={INJECT: "false"}), Namespace("shop"), SETTINGS).pod is None
    assert inject_pod(pod(labels={"istio.io/rev": "canary"}), Namespace("shop"), SETTINGS).pod is None


@pytest.mark.parametrize(
    ("of_namespace", "yes"),
    [
        ({"istio.io/rev": "canary"}, True),
        ({"istio.io/rev": "prod"}, True),
        ({"istio.io/rev": "default"}, False),
        ({ISTIO: "enabled"}, False),
    ],
)
def test_a_tag_is_another_name_of_a_revision(of_namespace: dict[str, str], *, yes: bool) -> None:
    settings = replace(SETTINGS, revision="canary", tags=("prod",))
    assert injected({}, of_namespace, settings=settings)[0] is yes


def test_the_default_may_be_a_tag() -> None:
    settings = replace(SETTINGS, revision="v2", tags=("default",))
    assert injected({}, {ISTIO: "enabled"}, settings=settings)[0]
    assert injected({"istio.io/rev": "v2"}, {}, settings=settings)[0]


def test_a_pod_says_by_which_revision_it_was_injected() -> None:
    settings = replace(SETTINGS, revision="canary", tags=("prod",))
    done = inject_pod(pod(labels={"app": "web"}), Namespace("shop", {"istio.io/rev": "prod"}), settings)
    assert done.pod is not None
    assert done.pod["metadata"]["labels"] == {"app": "web", "weft.dev/rev": "canary"}
    back = uninject_pod(done.pod)
    assert back is not None
    assert back["metadata"]["labels"] == {"app": "web"}
