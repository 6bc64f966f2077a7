"""Checks of a cluster over facts of one: what is found, and what is not concluded from what could not be read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from weft.findings.cluster.check import check_cluster
from weft.findings.cluster.facts import (
    DEFINITIONS,
    LEASES,
    MUTATING,
    ClusterFacts,
    ControlPod,
    DefinitionFact,
    InstallationFact,
    LeaseFact,
    NamespaceFact,
    NodeFact,
    PodFact,
    RightFact,
    TrialFact,
    WebhookFact,
)

ROOT = f"sha256:{'a' * 64}"
GATEWAY = tuple(
    DefinitionFact(f"{name}.gateway.networking.k8s.io", "v1.6.3", "standard")
    for name in ("gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants")
)
OURS = DefinitionFact("ejectionpolicies.weft.dev", stored=("v1alpha1",), known=("v1alpha1",))
BARE = ClusterFacts(
    server="prod",
    namespace="weft-system",
    client="0.1.0",
    version="v1.37.2",
    now=1e9,
    nodes=(NodeFact("one", "v1.37.2", architecture="amd64"),),
    definitions=(*GATEWAY, OURS),
    injected=(NamespaceFact("shop"),),
)
INJECTOR = WebhookFact("weft-injector", "pod.injector.weft.dev", ours=True, authority=ROOT, ends=2e9, pods=True)
VALIDATOR = WebhookFact("weft-validator", "d.validator.weft.dev", ours=True, mutating=False, authority=ROOT, ends=2e9)
INSTALLED = replace(
    BARE,
    installation=InstallationFact("deployment/weft", "0.1.0", pods=(ControlPod("weft-1"),), endpoints=1, shared=True),
    lease=LeaseFact("weft-1_a", 2.0, 15),
    state_lease=LeaseFact("weft-2_b", 2.0, 15),
    webhooks=(INJECTOR, VALIDATOR),
    trials=(TrialFact("webhook weft-injector", True, image="weft-proxy:1", fingerprint=ROOT),),
    root=ROOT,
)


def told(facts: ClusterFacts) -> list[str]:
    return [f"{one.severity} {one.about}: {one.message}" for one in check_cluster(facts).findings]


def test_nothing_is_found_where_all_is_well() -> None:
    assert told(BARE) == told(INSTALLED) == []
    assert "you may do what installing needs" in check_cluster(BARE).passed
    assert "you may do what installing needs" in check_cluster(INSTALLED, before=True).passed
    assert "the API server reaches the webhooks" in check_cluster(INSTALLED).passed


def test_definitions_that_a_later_revision_has_written_are_as_they_should_be() -> None:
    """`weft upgrade` of the older one leaves them."""
    other = replace(INSTALLED, definitions=(*GATEWAY, replace(OURS, same=False)))
    assert told(other) != []
    assert told(replace(other, later=True)) == []


def test_a_server_that_cannot_be_asked_is_all_there_is_to_say() -> None:
    (found,) = told(replace(INSTALLED, unreachable="no connection can be made"))
    assert found == "error API server prod: it cannot be asked: no connection can be made"


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (replace(BARE, version="v1.33.9"), "error API server: it is v1.33.9; weft needs Kubernetes 1.34 or newer"),
        (replace(BARE, version="v1.41.0"), "warning API server: it is v1.41.0; this weft was tried with Kubernetes up"),
        (replace(BARE, ahead=-61.0), "warning clock: the clock of this host is 61 s behind the API server's"),
        (replace(BARE, nodes=(NodeFact("old", "v1.29.0"),)), "error nodes: old: the kubelet is older than 1.31"),
        (replace(BARE, nodes=(NodeFact("one", ready=False),)), "error nodes: none is ready"),
        (
            replace(BARE, nodes=(*BARE.nodes, NodeFact("two", ahead=40.0))),
            "error nodes: two: the clock is more than 30 s",
        ),
        (replace(BARE, nodes=(*BARE.nodes, NodeFact("w", system="windows"))), "warning nodes: w: no Linux"),
        (
            replace(BARE, nodes=(*BARE.nodes, NodeFact("arm", architecture="arm64"))),
            "warning nodes: they are of several architectures (amd64, arm64)",
        ),
        (replace(BARE, definitions=()), "warning Gateway API: its definitions are not there"),
        (replace(BARE, definitions=GATEWAY[:4]), "warning Gateway API: it has no referencegrants"),
        (
            replace(BARE, definitions=tuple(replace(each, bundle="v1.2.0") for each in GATEWAY)),
            "warning Gateway API: it is v1.2.0; weft reads 1.4 or newer",
        ),
        (
            replace(BARE, definitions=(replace(GATEWAY[0], bundle="v1.5.0"), *GATEWAY[1:])),
            "warning Gateway API: its definitions are of several releases: v1.5.0, v1.6.3",
        ),
        (replace(BARE, istiod=("istio-system/istiod",)), "warning Istio: istio-system/istiod is there"),
        (
            replace(BARE, injected=(NamespaceFact("shop", "baseline"),)),
            "error namespace shop: it enforces Pod Security 'baseline', which refuses weft-init",
        ),
        (replace(BARE, rights=(RightFact("create namespaces", False),)), "error you: you may not create namespaces"),
        (replace(BARE, unread=("nodes",)), "warning you: not looked at, since it could not be read: nodes"),
    ],
)
def test_a_cluster_that_does_not_fit(facts: ClusterFacts, found: str) -> None:
    (said,) = told(facts)
    assert said.startswith(found)
    assert check_cluster(facts).findings[0].fix


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (replace(INSTALLED, client="0.2.0"), "warning deployment/weft: the control plane is weft 0.1.0, and this"),
        (replace(INSTALLED, client="0.3.0"), "error deployment/weft: the control plane is weft 0.1.0, and this"),
        (replace(INSTALLED, lease=None), "error Lease weft-system/weft-leader: nobody leads"),
        (
            replace(INSTALLED, lease=LeaseFact("a", 300.0, 15)),
            "error Lease weft-system/weft-leader: a has not renewed it",
        ),
        (
            replace(INSTALLED, lease=LeaseFact("a", -90.0, 15)),
            "error Lease weft-system/weft-leader: the clock of a is 90 s ahead",
        ),
        (
            replace(INSTALLED, state_lease=None),
            "error Lease weft-system/weft-state: nobody leads, so no history is written",
        ),
        (
            replace(INSTALLED, state_lease=LeaseFact("a", 300.0, 15)),
            "error Lease weft-system/weft-state: a has not renewed it",
        ),
        (
            replace(INSTALLED, lease=LeaseFact("a_1", -90.0, 15), state_lease=LeaseFact("a_2", -90.0, 15)),
            "error Lease weft-system/weft-leader: the clock of a_1 is 90 s ahead",
        ),
        (
            replace(INSTALLED, client="0.2.0", state_lease=None),
            "warning deployment/weft: the control plane is weft 0.1.0, and this",
        ),
        (
            replace(INSTALLED, definitions=(*GATEWAY, replace(OURS, stored=("v1alpha1", "v2")))),
            "error definition ejectionpolicies.weft.dev: objects lie there as v2",
        ),
        (
            replace(INSTALLED, definitions=(*GATEWAY, replace(OURS, same=False))),
            "warning definitions: of another version of weft: ejectionpolicies.weft.dev",
        ),
        (replace(INSTALLED, webhooks=(VALIDATOR,)), "error weft-injector: the configuration is not there"),
        (
            replace(INSTALLED, webhooks=(INJECTOR, replace(INJECTOR, authority="sha256:b"), VALIDATOR)),
            "error weft-injector: its webhooks have different roots",
        ),
        (replace(INSTALLED, root="sha256:other"), "error weft-injector: caBundle has sha256:aaaa"),
        (
            replace(INSTALLED, webhooks=(replace(INJECTOR, ends=1e9 + 86400 * 3), VALIDATOR)),
            "warning weft-injector: the root in caBundle ends in 3 days",
        ),
        (
            replace(INSTALLED, webhooks=(replace(INJECTOR, failure_policy="Ignore"), VALIDATOR)),
            "warning weft-injector: failurePolicy is Ignore",
        ),
        (
            replace(INSTALLED, pods=(PodFact("shop", "a"), PodFact("shop", "b", "weft-proxy:1"))),
            "warning namespace shop: should have a sidecar and have none, so they speak plaintext: a",
        ),
        (
            replace(INSTALLED, pods=(PodFact("shop", "b", "weft-proxy:0"),)),
            "warning namespace shop: have another sidecar than pods get now (weft-proxy:1): b",
        ),
        (
            replace(INSTALLED, account_rights=(RightFact("watch pods", False),)),
            "error service account weft-system/weft: it may not watch pods",
        ),
    ],
)
def test_an_installation_that_is_not_well(facts: ClusterFacts, found: str) -> None:
    said = told(facts)
    assert any(each.startswith(found) for each in said), said
    assert all(one.fix for one in check_cluster(facts).findings)


def test_nothing_is_concluded_from_what_may_not_be_read() -> None:
    facts = replace(INSTALLED, definitions=(), lease=None, webhooks=(), unread=(DEFINITIONS, LEASES, MUTATING))
    (unread, *others) = told(replace(facts, validates=False))
    assert unread == f"warning you: not looked at, since it could not be read: {DEFINITIONS}, {LEASES}, {MUTATING}"
    assert others == []


def test_of_a_control_plane_that_is_not_ready_only_that_is_told() -> None:
    pods = (ControlPod("weft-1", False, "its container waits: ImagePullBackOff"),)
    installation = InstallationFact("deployment/weft", "0.1.0", pods=pods)
    trial = TrialFact("webhook weft-injector", False, "no endpoints available")
    facts = replace(INSTALLED, installation=installation, lease=None, trials=(trial,), root="")
    assert told(facts) == [
        "error Service weft-system/weft: no endpoint of it is ready: proxies and the API server reach nobody",
        "error pod weft-system/weft-1: its container waits: ImagePullBackOff",
    ]


def test_a_revision_is_told_by_its_own_names() -> None:
    canary = replace(INSTALLED, revision="canary", webhooks=(), lease=None, client="0.2.0")
    found = check_cluster(canary).findings
    assert {one.about for one in found} == {
        "weft-injector-canary",
        "weft-validator-canary",
        "Lease weft-system/weft-leader-canary",
        "deployment/weft",
    }
    assert "weft upgrade --revision canary" in {one.fix for one in found}
