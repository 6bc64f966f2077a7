"""A route's own share of traces: on its rules, wherever they are in force, and on no others."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, service, workload
from weft.schema.decode import decode_documents
from weft.xds.signals.sampling import sampling_threshold

ROUTE = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: default, annotations: {weft.dev/trace-sampling: "%s"}}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules: [{backendRefs: [{name: web, port: 9080}]}]
"""
VIRTUAL_SERVICE = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: default, annotations: {weft.dev/trace-sampling: "0.5"}}
spec:
  hosts: [web]
  http: [{route: [{destination: {host: web}}]}]
"""
TRACED = """
---
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {extensionProviders: [{name: traces, opentelemetry: {service: 127.0.0.1, port: 4317}}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: mesh, namespace: istio-system}
spec: {tracing: [{providers: [{name: traces}]}]}
"""


def sampling(text: str) -> dict[str, set[float | None]]:
    """The shares of the rules of each host, as a sidecar has them."""
    view = Compiled(service("web") + service("other"), text).sidecar(workload("client"))
    hosts = view.outbound.virtual_hosts
    return {host.name.partition(".")[0]: {rule.sampling for rule in host.rules} for host in hosts}


@pytest.mark.parametrize(("text", "share"), [(ROUTE % "25", 25.0), (ROUTE % "0", 0.0), (VIRTUAL_SERVICE, 0.5)])
def test_the_annotation_is_the_share_of_the_documents_rules(text: str, share: float) -> None:
    assert sampling(text) == {"web": {share}, "other": {None}}


@pytest.mark.parametrize("text", ["101", "-1", "half", "nan", "1e3", ""])
def test_what_is_no_percentage_is_an_error_at_its_line(text: str) -> None:
    [problem] = decode_documents(ROUTE % text, "web.yaml").problems
    assert (problem.code, problem.expected) == ("bad-value", "a percentage from 0 to 100")


@pytest.mark.parametrize(
    ("percent", "threshold"),
    [(0, "00000000"), (1, "028f5c29"), (6.25, "10000000"), (50, "80000000"), (99.9999999999, "~"), (100, "~")],
)
def test_below_the_threshold_lies_that_share_of_all_ids(percent: float, threshold: str) -> None:
    assert sampling_threshold(percent) == threshold
    assert (threshold > "ffffffff-ffff") is (threshold == "~")


def test_sidecars_look_at_routes_only_where_one_has_a_share() -> None:
    plain = ROUTE.replace(', annotations: {weft.dev/trace-sampling: "%s"}', "")
    for route, expected in ((plain, False), (ROUTE % "25", True)):
        view = Compiled(service("web"), route, TRACED).sidecar(workload("client"))
        for signals, asked in ((view.outgoing, expected), (view.incoming, False)):
            assert signals.tracing is not None
            assert signals.tracing.by_route is asked
