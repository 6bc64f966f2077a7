"""The metrics of a running mesh: every proxy's endpoint, read by a real Prometheus as text and as native histograms."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from typing import Any

import pytest

from support.http import Client
from support.mesh import Mesh, until
from support.prometheus import Prometheus, running_prometheus
from weft.settings.addresses import outward_address

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec: {parentRefs: [{name: front}], rules: [{backendRefs: [{name: web, port: 80}]}]}
"""
NATIVE = "--enable-feature=native-histograms"
CALLS = 40


def scraping(*ports: int) -> dict[str, Any]:
    """Prometheus' configuration for endpoints on loopback."""
    targets = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
    job = {"job_name": "mesh", "metrics_path": "/stats/prometheus", "static_configs": targets}
    return {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}


def endpoint(mesh: Mesh, name: str) -> int:
    """The port at which a workload's metrics are, as the control plane knows it."""
    return int(mesh.workload(name)["metrics"]["port"])


def value(prometheus: Prometheus, query: str) -> float:
    """The one number that a query gives."""
    [found] = prometheus.ask(query)
    return float(found["value"][1])


def _reporters(prometheus: Prometheus, query: str) -> set[str]:
    return {labels["reporter"] for labels in prometheus.labels(query)}


@pytest.mark.parametrize("flags", [(), (NATIVE,)], ids=["text", "native-histograms"])
def test_prometheus_reads_both_sides_of_every_call_and_the_applications_own(mesh: Mesh, flags: tuple[str, ...]) -> None:
    mesh.serve()
    mesh.apply(SERVICE)
    mesh.echo("web", app="web", port="8080:auto", more=("--metrics-port", "8080"))
    mesh.echo("caller", app="caller", port="8080:auto")
    client = Client(mesh.proxy_of("caller"))
    until("the call is answered", lambda: client("http://web/").status == 200)
    web, caller = endpoint(mesh, "web"), endpoint(mesh, "caller")
    assert web != caller
    with running_prometheus(scraping(web, caller), {}, *flags) as prometheus:
        for _ in range(CALLS):
            client("http://web/status/418")
            client("http://web/")
        both = 'istio_requests_total{response_code="418",source_workload="caller",destination_workload="web"}'

        def counted() -> bool:
            found = {one["metric"]["reporter"]: float(one["value"][1]) for one in prometheus.ask(both)}
            return found == {"source": CALLS, "destination": CALLS}

        until("both sides have counted every call", counted)
        for labels in prometheus.labels(both):
            assert labels["connection_security_policy"] == "mutual_tls"
            assert labels["source_principal"] == "cluster.local/ns/default/sa/caller"
            assert labels["destination_service_name"] == "web"
        name = "istio_request_duration_milliseconds" + ("" if flags else "_bucket")
        groups = "reporter" if flags else "reporter, le"
        quantile = f"histogram_quantile(0.5, sum by ({groups}) ({name}{{destination_workload='web'}}))"
        until("both have times", lambda: _reporters(prometheus, quantile) == {"source", "destination"})
        count = f"histogram_count({name}{{response_code='418',reporter='source'}})"
        until("all are in them", lambda: not flags or value(prometheus, count) == CALLS)
        until("the application's own are there", lambda: value(prometheus, "echo_requests_total") >= CALLS)
        until("both are connected", lambda: value(prometheus, "sum(weft_agent_connected)") == 2)
        assert not prometheus.ask('{__name__=~"istio_.*", source_workload="liar"}')
        until("both are read", lambda: {target["health"] for target in prometheus.targets()} == {"up"})


def test_off_loopback_prometheus_shows_a_certificate_of_the_mesh(mesh: Mesh) -> None:
    mesh.serve()
    mesh.apply(SERVICE)
    mesh.echo("web", app="web", port="8080:auto", more=("--inbound-address", outward_address()))
    mesh.run("prometheus", ["sleep", "600"], port="")
    where = mesh.workload("web")["metrics"]
    assert where["host"] == outward_address()
    certificates = mesh.home / "workloads" / "default" / "prometheus" / "certs" / "..data"
    shown: dict[str, object] = {"cert_file": str(certificates / "chain.pem"), "key_file": str(certificates / "key.pem")}
    target = f"{where['host']}:{where['port']}"
    nothing: dict[str, object] = {}
    jobs = [
        {
            "job_name": name,
            "scheme": "https",
            "static_configs": [{"targets": [target]}],
            "tls_config": keys | {"insecure_skip_verify": True},
        }
        for name, keys in (("member", shown), ("stranger", nothing))
    ]
    configuration = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    with running_prometheus(configuration, {}) as prometheus:
        until("the mesh's own is answered", lambda: value(prometheus, 'up{job="member"}') == 1)
        until("the stranger was heard", lambda: [one for one in prometheus.targets() if one["lastError"]])
        assert value(prometheus, 'up{job="stranger"}') == 0
        until("it tells of itself", lambda: prometheus.ask('weft_agent_info{workload="web"}'))


def test_a_gateway_tells_its_metrics_too(mesh: Mesh) -> None:
    mesh.serve()
    mesh.apply(SERVICE + GATEWAY)
    mesh.echo("web", app="web", port="8080:auto")
    mesh.gateway("front", "80=auto")
    port = until("the gateway listens", lambda: mesh.state("front")["listen"][0][1])
    call = f"http://127.0.0.1:{port}/status/418"
    until("the gateway answers", lambda: _status(call) == 418)

    def told() -> list[str]:
        lines = _text(f"http://127.0.0.1:{endpoint(mesh, 'front')}/metrics").splitlines()
        return [line for line in lines if line.startswith("istio_requests_total{") and 'response_code="418"' in line]

    [line] = until("the call is counted", told)
    assert 'reporter="source",source_workload="front"' in line
    assert 'destination_workload="web"' in line


def _text(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        found: str = answer.read().decode()
        return found


def _status(url: str) -> int:
    try:
        _text(url)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


def test_the_port_stays_when_the_agent_starts_again(mesh: Mesh) -> None:
    mesh.serve()
    mesh.apply(SERVICE)
    process = mesh.echo("web", app="web", port="8080:auto")
    before = endpoint(mesh, "web")
    process.stop(signal.SIGKILL)
    mesh.echo("web", app="web", port="8080:auto")

    def shown() -> list[str]:
        rows = json.loads(mesh.weft("ps", "-o", "json", check=False).stdout)
        return [row["metrics"] for row in rows if row["name"] == "web" and row["metrics"]]

    assert until("the new agent runs", shown) == [f"127.0.0.1:{before}"]
    assert endpoint(mesh, "web") == before
