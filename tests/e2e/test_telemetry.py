"""Access logs of a running mesh: lines where documents ask for them, with the rule's line, and who asked for them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from support.http import Client
from support.mesh import APPS, Mesh
from weft.agent.access_logs import rotate
from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.metrics.istio import OTHER
from weft.settings.home import Home
from weft.testing import until

LOGGED = """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec:
  extensionProviders:
  - name: json
    envoyFileAccessLog:
      path: access.log
      logFormat:
        labels:
          code: "%RESPONSE_CODE%"
          path: "%REQ(:PATH)%"
          rule: "%METADATA(ROUTE:weft:object)%"
          line: "%METADATA(ROUTE:weft:src)%"
          callee: "%UPSTREAM_PEER_SUBJECT%"
          caller: "%DOWNSTREAM_PEER_SUBJECT%"
          id: "%REQ(X-REQUEST-ID)%"
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: everything, namespace: istio-system}
spec:
  accessLogging:
  - providers: [{name: json}, {name: envoy}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  accessLogging:
  - filter: {expression: response.code >= 400}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo]
  http:
  - match: [{uri: {prefix: /broken}}]
    directResponse: {status: 503}
  - route: [{destination: {host: echo}}]
"""


def without_lines(service: str) -> str:
    """A route whose requests have no lines."""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {service}, annotations: {{weft.dev/access-log: "off"}}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: {service}}}]
  rules: [{{backendRefs: [{{name: {service}, port: 80}}]}}]
"""


def directory(world: Mesh, name: str) -> Path:
    """The directory of a workload."""
    return world.home / "workloads" / "default" / name


def told(world: Mesh, name: str) -> list[dict[str, Any]]:
    """The JSON lines of a workload's proxy."""
    path = directory(world, name) / "access-logs" / "access.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def of(world: Mesh, name: str, path: str) -> list[dict[str, Any]]:
    """Those of one path."""
    return [line for line in told(world, name) if line["path"] == path]


_NUMBERS = itertools.count()


def told_by_callee(world: Mesh, client: Client) -> str:
    """The path of a request of which the callee's proxy has written a line; empty if it does not."""
    path = f"/seen-{next(_NUMBERS)}"
    assert client(f"http://other{path}").status == 200
    with contextlib.suppress(AssertionError):
        until("its line", lambda: of(world, "other", path), deadline=5)
        return path
    return ""


def test_lines_of_both_sides_name_rule_line_peers_and_the_same_id(world: Mesh, client: Client) -> None:
    with world.applied(LOGGED):
        assert client("http://echo/fine").status == 200
        assert client("http://echo/broken").status == 503
        # A connection of before ends within Envoy's drain time, and until then says what it said before.
        seen = until("the callee tells", lambda: told_by_callee(world, client))
        [mine] = until("the caller's line", lambda: of(world, "client", seen))
        [theirs] = of(world, "other", seen)
        [broken] = until("the broken one's", lambda: of(world, "client", "/broken"))
        assert mine["id"] == theirs["id"]
        assert "CN=other.default" in mine["callee"]
        assert "CN=client.default" in theirs["caller"]
        assert broken["rule"] == "VirtualService default/echo"
        assert broken["line"].rpartition(":")[2].isdigit()
        assert (mine["code"], broken["code"]) == (200, 503)
        assert told(world, "echo-v1") == told(world, "echo-v2") == [], "there, what went well is filtered out"
        for path in (directory(world, "client") / "access-logs").iterdir():
            assert not path.stat().st_mode & 0o077, "files of its user's own"

        shown = world.weft("logs", "--access", "client", "--tail", "5").stdout
        assert f'"GET {seen} HTTP/1.1" 200' in shown, "Istio's text, on standard output"
        assert f'"path":"{seen}"' in shown

        asked = json.loads(world.weft("proxy", "signals", "echo-v1", "-o", "json").stdout)["signals"]
        by_signal = {(one["side"], one["signal"], one["what"]): one for one in asked}
        one = by_signal["calls to it", "access log", "access.log, where response.code >= 400"]
        assert one["object"]["name"] == "echo"
        assert one["source"].rpartition(":")[2].isdigit()
        table = world.weft("proxy", "signals", "client").stdout
        assert "Telemetry istio-system/everything" in table
        assert "metrics" in table


async def listeners(world: Mesh) -> dict[str, int]:
    """How often the client's proxy has added, changed or removed a listener."""
    admin = EnvoyAdmin(Home(world.home).socket(directory(world, "client") / "admin.sock"))
    found = await admin.gauges("listener_manager.listener_(added|modified|removed)")
    assert found is not None
    return found


def test_routes_turn_lines_off_without_touching_a_listener(world: Mesh, client: Client) -> None:
    with world.applied(LOGGED), world.applied(without_lines("other")):
        assert client("http://other/off").status == 200
        before = asyncio.run(listeners(world))
        with world.applied(without_lines("client")):
            client("http://client/still-off")
        assert asyncio.run(listeners(world)) == before, "which routes have lines is the routes' business"
        assert client("http://echo/marker").status == 200
        until("a later line", lambda: of(world, "client", "/marker"))
        assert of(world, "client", "/off") == []
        assert [line["callee"] for line in of(world, "client", "/still-off")] == [None], "only where it came in again"


def test_a_file_is_rotated_under_envoy(world: Mesh, client: Client) -> None:
    with world.applied(LOGGED):
        assert client("http://other/before").status == 200
        until("the line before", lambda: of(world, "client", "/before"))
        logs = directory(world, "client") / "access-logs"
        assert rotate(logs, limit=10)
        admin = EnvoyAdmin(Home(world.home).socket(directory(world, "client") / "admin.sock"))
        assert asyncio.run(admin.reopen_logs())
        assert client("http://other/after").status == 200
        until("the line after", lambda: of(world, "client", "/after"))
        assert of(world, "client", "/before") == []
        assert "/before" in (logs / "access.log.1").read_text()


def test_without_documents_there_is_no_logger(world: Mesh) -> None:
    def shown() -> str:
        return world.weft("proxy", "config", "client", "listeners", "-o", "json").stdout

    with world.applied(LOGGED):
        assert "access-logs/access.log" in shown()
    assert "access-logs" not in shown()
    assert "envoy.access_loggers.stdout" not in shown()


COLLECTED = """
apiVersion: v1
kind: Service
metadata: {name: logsink}
spec: {selector: {app: logsink}, ports: [{name: grpc-otlp, port: 4317}]}
---
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec:
  extensionProviders:
  - {name: records, envoyOtelAls: {service: default/logsink, port: 4317, logFormat: {text: "%REQ(:PATH)%"}}}
  - {name: requests, envoyHttpAls: {service: logsink.default.svc.cluster.local, port: 4317}}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: client}
spec:
  selector: {matchLabels: {app: client}}
  accessLogging: [{match: {mode: CLIENT}, providers: [{name: records}, {name: requests}]}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: front}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]
  accessLogging: [{providers: [{name: records}]}]
"""


def test_a_collector_may_be_a_service_of_the_mesh(
    world: Mesh, client: Client, front: tuple[Client, str], tmp_path: Path
) -> None:
    """Sidecars and gateways send to it over mutual TLS, and only those that documents name."""
    outside, page = front
    told_by_sink = tmp_path / "told.json"
    command = [sys.executable, str(APPS / "log_sink.py"), str(told_by_sink)]
    sink = world.run("logsink", command, port="4317:auto", health="tcp")

    def found() -> dict[str, Any]:
        return json.loads(told_by_sink.read_text())  # type: ignore[no-any-return]

    with world.applied(COLLECTED):

        def come() -> bool:
            """Lines of a stream that breaks while it is opened are lost: there is more than one request."""
            assert client("http://echo/collected").status == 200
            assert outside(f"{page}/nothing-here").status == 404
            return bool(found()["requests"]) and len({tuple(record) for record in found()["records"]}) >= 2

        until("they have come", come, every=0.5)
        records = {tuple(record) for record in found()["records"]}
        assert records == {("client.default", "/collected"), ("front.default", "/nothing-here")}
        assert set(found()["requests"]) == {"/collected"}
    sink.stop()


LABELS = """
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: labels, namespace: istio-system}
spec:
  metrics:
  - overrides:
    - match: {metric: REQUEST_COUNT}
      tagOverrides:
        response_flags: {operation: REMOVE}
        place: {value: "'test'"}
        port: {value: string(destination.port)}
    - match: {metric: REQUEST_SIZE}
      disabled: true
"""


def test_metrics_are_served_as_documents_want_them(world: Mesh, client: Client) -> None:
    port = world.workload("client")["metrics"]["port"]
    scraper = Client()

    def served(name: str) -> list[str]:
        """Without what the proxy did not keep apart: other tests of this mesh may have made it more than is kept."""
        text = scraper(f"http://127.0.0.1:{port}/stats/prometheus").body.decode()
        lines = [line for line in text.splitlines() if line.startswith(f"{name}{{") and 'reporter="source"' in line]
        return [line for line in lines if f'request_protocol="{OTHER}"' not in line]

    def as_usual() -> bool:
        lines = served("istio_requests_total")
        return all("response_flags=" in line and "place=" not in line for line in lines)

    assert client("http://other/counted").status == 200
    until("it is counted", lambda: served("istio_requests_total"))
    until("the agent has heard that no document is in force any more", as_usual)
    assert served("istio_request_bytes_sum")
    before = asyncio.run(listeners(world))
    with world.applied(LABELS):
        lines = until("the agent knows", lambda: [each for each in served("istio_requests_total") if "place=" in each])
        assert all('place="test"' in line and "response_flags=" not in line for line in lines)
        assert any('port="80"' in line for line in lines)
        assert not served("istio_request_bytes_sum")
        assert asyncio.run(listeners(world)) == before, "labels are the agent's business"
    scraper.close()
