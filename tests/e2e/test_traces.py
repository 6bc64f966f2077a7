"""Traces of the demo in a real Jaeger, whole call trees by every protocol, and through a real collector into files."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

import weft
from support.http import Client
from support.mesh import Mesh
from support.observability import (
    EXAMPLE,
    CollectorFiles,
    Jaeger,
    JaegerSpan,
    built,
    planned_jaeger,
    running_collector,
    running_jaeger,
)
from weft.agent.envoy_admin import EnvoyAdmin
from weft.testing import RunningMesh, running_mesh, until

DEMO = Path(weft.__file__).parent / "bookinfo" / "weft.yaml"
PARENT = "00f067aa0ba902b7"
DOCUMENTS = """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {{name: default, namespace: istio-system}}
spec:
  extensionProviders:
    - name: traces
      {provider}
    - name: lines
      envoyOtelAls: {{service: 127.0.0.1, port: {port}}}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: mesh, namespace: istio-system}}
spec:
  tracing:
    - providers: [{{name: traces}}]
      randomSamplingPercentage: {sampling}
  {logs}
"""
STARS = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: v3}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http:
    - match: [{headers: {end-user: {exact: jason}}}]
      fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
      route: [{destination: {host: ratings}}]
    - route: [{destination: {host: ratings}}]
"""
"""Every page asks for stars, and jason gets none."""
JASON = {"cookie": "user=jason"}
T = TypeVar("T")


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    with running_jaeger(tmp_path_factory.mktemp("jaeger")) as found:
        yield found


@pytest.fixture(scope="module")
def demo() -> Iterator[RunningMesh]:
    with running_mesh(DEMO) as mesh:
        mesh.apply(STARS)
        yield mesh


def traced(demo: RunningMesh, provider: str, *, port: int = 9, sampling: float = 100.0, logs: str = "") -> None:
    """Traces to a provider; `logs` is the Telemetry's word on access logs, which go to `port`."""
    demo.apply(DOCUMENTS.format(provider=provider, port=port, sampling=sampling, logs=logs))


def page(demo: RunningMesh, headers: Mapping[str, str]) -> None:
    """The product page, as a stranger asks for it."""
    client = Client()
    try:
        assert client(f"http://{demo.gateway('bookinfo-gateway')}/productpage", headers=headers).status == 200
    finally:
        client.close()


def w3c(trace: str) -> dict[str, str]:
    """A stranger that has ids, and does not want to be traced."""
    return {"traceparent": f"00-{trace}-{PARENT}-00"}


def b3(trace: str) -> dict[str, str]:
    """The same of one that speaks B3."""
    return {"x-b3-traceid": trace, "x-b3-spanid": PARENT, "x-b3-sampled": "0"}


def seen(demo: RunningMesh, headers: Callable[[str], Mapping[str, str]], look: Callable[[str], T]) -> T:
    """What `look` finds of the trace of a page; False, or an error of `NOT_YET`, is nothing yet. Connections that were
    open when documents changed carry one more request as before, so that the page is asked for again and again."""
    for _ in range(12):
        trace = uuid.uuid4().hex
        page(demo, headers(trace))
        with contextlib.suppress(AssertionError):
            return until("the trace is as expected", lambda: look(trace), deadline=5)  # noqa: B023
    return until("the trace is as expected", lambda: look(trace), deadline=5)


def tree(spans: list[JaegerSpan], parent: str, depth: int = 0) -> list[str]:
    """A trace as lines: who made each span, of which side, indented below its parent."""
    found: list[str] = []
    for span in sorted((each for each in spans if each.parent == parent), key=lambda each: each.name):
        found += [f"{'  ' * depth}{span.service} {span.kind} {span.name}", *tree(spans, span.id, depth + 1)]
    return found


WHOLE = [
    "bookinfo-gateway server GET *:80",
    "  productpage server GET inbound|9080",
    "    productpage client GET details.default.svc.cluster.local:9080",
    "      details server GET inbound|9080",
    "    productpage client GET reviews.default.svc.cluster.local:9080",
    "      reviews server GET inbound|9080",
    "        reviews client GET ratings.default.svc.cluster.local:9080",
    "          ratings server GET inbound|9080",
]
"""Both sides of each call."""


def whole(jaeger: Jaeger, trace: str) -> list[JaegerSpan]:
    """The spans of a trace, once all have come."""
    spans = jaeger.traces("ratings")[trace]
    assert tree(spans, PARENT) == WHOLE
    return spans


@pytest.mark.parametrize("provider", ["grpc", "http"])
def test_one_trace_is_the_whole_call_tree_of_the_page(demo: RunningMesh, jaeger: Jaeger, provider: str) -> None:
    port, over = {"grpc": (jaeger.otlp, ""), "http": (jaeger.otlp_http, ", http: {path: /v1/traces, timeout: 5s}")}[
        provider
    ]
    traced(demo, f"opentelemetry: {{service: 127.0.0.1, port: {port}{over}}}")
    spans = seen(demo, w3c, lambda trace: whole(jaeger, trace))
    rules = {
        span.name: (span.tags["weft.rule"], span.tags["weft.source"]) for span in spans if "weft.rule" in span.tags
    }
    assert rules["GET *:80"][0] == "HTTPRoute default/bookinfo"
    rule, line = rules["GET ratings.default.svc.cluster.local:9080"]
    assert (rule, line.partition(":")[0]) == ("VirtualService default/ratings", "test")
    [asked] = [span for span in spans if span.service == "ratings"]
    assert "CN=reviews-v3.default" in asked.tags["weft.peer"]


def test_a_failed_call_says_which_rule_made_it_fail(demo: RunningMesh, jaeger: Jaeger) -> None:
    traced(demo, f"opentelemetry: {{service: 127.0.0.1, port: {jaeger.otlp}}}")

    def failures(trace: str) -> list[JaegerSpan]:
        return [span for span in jaeger.traces("reviews")[trace] if span.failed and span.kind == "client"]

    [failed] = seen(demo, lambda trace: {**w3c(trace), **JASON}, failures)
    assert failed.name == "GET ratings.default.svc.cluster.local:9080"
    assert failed.tags["response_flags"] == "FI"
    assert failed.tags["weft.rule"] == "VirtualService default/ratings"


def test_a_caller_with_b3_headers_is_traced_the_whole_way_with_zipkin(demo: RunningMesh, jaeger: Jaeger) -> None:
    traced(demo, f"zipkin: {{service: 127.0.0.1, port: {jaeger.zipkin}}}")
    seen(demo, b3, lambda trace: whole(jaeger, trace))


def test_without_the_document_nothing_is_traced(demo: RunningMesh, jaeger: Jaeger) -> None:
    traced(demo, f"opentelemetry: {{service: 127.0.0.1, port: {jaeger.otlp}}}")
    seen(demo, w3c, lambda trace: whole(jaeger, trace))
    directory = demo.home.root / "workloads" / "default" / "productpage-v1"
    admin = EnvoyAdmin(demo.home.socket(directory / "admin.sock"))
    assert asyncio.run(admin.gauges("collector"))
    demo.delete("Telemetry", "mesh", namespace="istio-system")
    until("its collector is gone", lambda: asyncio.run(admin.gauges("collector")) == {})


@pytest.fixture
def collector(jaeger: Jaeger, tmp_path: Path) -> Iterator[CollectorFiles]:
    with running_collector(tmp_path, jaeger, COLLECTOR_DECISION="1s", COLLECTOR_SHARE="0") as files:
        yield files


def test_the_collector_keeps_the_traces_that_failed_and_every_line(
    demo: RunningMesh, jaeger: Jaeger, collector: CollectorFiles
) -> None:
    logs = "accessLogging: [{providers: [{name: lines}]}]"
    traced(demo, f"opentelemetry: {{service: 127.0.0.1, port: {collector.otlp}}}", port=collector.otlp, logs=logs)

    def lines(trace: str) -> str:
        found = {record["resource"]["service.name"] for record in collector.records() if record["traceId"] == trace}
        assert found >= {"bookinfo-gateway", "productpage", "details", "reviews", "ratings"}
        return trace

    def kept(trace: str) -> list[dict[str, Any]]:
        assert jaeger.traces("reviews")[trace]
        return [span for span in collector.spans() if span["traceId"] == trace]

    fine = seen(demo, w3c, lines)
    failed = seen(demo, lambda trace: {**w3c(trace), **JASON}, kept)
    assert 2 in {span["status"].get("code") for span in failed}
    assert fine not in {span["traceId"] for span in collector.spans()}


MESH = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: jaeger}
spec: {selector: {app: jaeger}, ports: [{name: grpc-otlp, port: 4317}]}
---
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec:
  extensionProviders: [{name: traces, opentelemetry: {service: jaeger.default.svc.cluster.local, port: 4317}}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: mesh, namespace: istio-system}
spec: {tracing: [{providers: [{name: traces}], randomSamplingPercentage: 100}]}
"""


def enough(traces: dict[str, list[JaegerSpan]], count: int) -> dict[str, list[JaegerSpan]]:
    """So many traces, of two spans each."""
    assert sorted(map(len, traces.values())) == [2] * count
    return traces


def test_a_collector_of_the_mesh_gets_spans_over_mutual_tls_and_none_of_its_own(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    jaeger, environment = planned_jaeger()
    command = [str(built("jaeger")), "--config", str(EXAMPLE / "jaeger.yaml")]
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(MESH)
        mesh.run("jaeger", command, port=f"4317:{jaeger.otlp}", health="tcp", env=environment, wait=False)
        mesh.echo("echo", wait=False)
        mesh.echo("client", wait=False)
        mesh.wait_healthy("jaeger", "echo", "client")
        client = Client(mesh.proxy_of("client"))
        for count in (1, 2, 3):
            assert client("http://echo/hello").status == 200
            found = until("so many traces", lambda: enough(jaeger.traces("echo"), count))  # noqa: B023
        client.close()
        for spans in found.values():
            assert sorted((span.service, span.kind) for span in spans) == [("client", "client"), ("echo", "server")]
        assert jaeger.traces("jaeger") == {}, "no span of spans that come in"
    finally:
        mesh.stop()
