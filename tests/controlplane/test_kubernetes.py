"""What is told of a Kubernetes API server as metrics."""

from __future__ import annotations

from unittest.mock import patch

from weft.controlplane.kubernetes import kubernetes_sources
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.pods import PodSource
from weft.sources.kubernetes.referred import ReferredSource
from weft.sources.kubernetes.source import KindState, KubernetesSource
from weft.telemetry.metrics import Registry, text_of


def test_each_kind_is_told_of_once_it_is_known() -> None:
    registry = Registry()
    kubernetes_sources(KubeconfigFile("/etc/weft/kubeconfig"), registry)
    assert "weft_kubernetes" not in text_of(registry.families())
    states = (KindState("services", 7, 2, followed=True), KindState("gateways", 0, 0, followed=False))
    pods = (KindState("pods", 3, 1, followed=True),)
    secrets = (KindState("secrets", 3, 4, followed=True),)
    with (
        patch.object(KubernetesSource, "states", lambda _: states),
        patch.object(PodSource, "states", lambda _: pods),
        patch.object(ReferredSource, "states", lambda _: secrets),
    ):
        told = text_of(registry.families())
    assert 'weft_kubernetes_objects{kind="services"} 7' in told
    assert 'weft_kubernetes_lists_total{kind="services"} 2' in told
    assert 'weft_kubernetes_followed{kind="services"} 1' in told
    assert 'weft_kubernetes_objects{kind="pods"} 3' in told
    assert 'weft_kubernetes_followed{kind="gateways"} 0' in told
    assert 'weft_kubernetes_objects{kind="secrets"} 3' in told
