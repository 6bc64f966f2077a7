"""Which Pods a snapshot has."""

from __future__ import annotations

from support.meshdocs import documents
from weft.model.distrust import Distrust, Ended
from weft.model.workload import GatewayBinding, Workload
from weft.sources.pods import admitted

HOST = Workload("reviews-1", "shop", "web")
POD = Workload("reviews-1", "shop", "web", pod="5f0d")
OTHER = Workload("reviews-0", "shop", "web", pod="5f0e")


def end(whose: str, name: str, ended: Ended) -> Distrust:
    return Distrust(whose, "shop", name, ended, 1)  # type: ignore[arg-type]


def test_sources_are_put_together_in_order() -> None:
    host = Workload("reviews-2", "shop", "web")
    found = admitted([(host,), (OTHER, POD)], ())
    assert found.workloads == (OTHER, POD, host)
    assert found.left_out == {}
    assert found.problems == ()
    only = (OTHER, POD)
    assert admitted([only], ()).workloads is only
    assert admitted([], ()).workloads == ()


def test_a_name_that_an_agent_holds_stays_its_own() -> None:
    for groups in ([(HOST,), (OTHER, POD)], [(OTHER, POD), (HOST,)]):
        found = admitted(groups, ())
        assert found.workloads == (OTHER, HOST)
        assert found.left_out == {POD.proxy: POD}
        assert [problem.code for problem in found.problems] == ["pod-name-taken"]


def test_a_pod_in_which_trust_has_ended_is_left_out() -> None:
    for whose, name in (("workload", "reviews-1"), ("service-account", "web")):
        for ended in Ended:
            found = admitted([(POD,)], (end(whose, name, ended),))
            out = ended is not Ended.RESTORED
            assert (found.workloads, found.left_out) == (((), {POD.proxy: POD}) if out else ((POD,), {}))
            assert admitted([(HOST,)], (end(whose, name, ended),)).workloads == (HOST,), "whose registration is deleted"


def process(of_class: str) -> Workload:
    labels = (("gateway.networking.k8s.io/gateway-class-name", of_class),)
    binding = GatewayBinding("web", "0.0.0.0")
    return Workload("web-1", "shop", f"web-{of_class}", labels, gateway=binding, pod="5f0f")


def test_a_pod_of_another_class_is_no_process_of_a_gateway() -> None:
    """Its labels are its own word: who may be the service account `web-frontend` is not given the Gateway's secrets."""
    text = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""
    good, bad, found = process("weft"), process("frontend"), documents(text)
    assert admitted([(good,)], (), found).workloads == (good,)
    refused = admitted([(bad,)], (), found)
    [pod] = refused.workloads
    assert pod.gateway is None
    assert [problem.code for problem in refused.problems] == ["pod-unusable"]
    assert admitted([(HOST,), (bad,)], (), found).workloads[1].gateway is None
    assert admitted([(bad,)], ()).workloads == (bad,), "of a Gateway that is not there nothing is served"
