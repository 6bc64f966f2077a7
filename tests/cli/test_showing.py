"""Commands that show what there is, against a small server that answers as the admin API does."""

from __future__ import annotations

import json
import time
from datetime import datetime, tzinfo
from typing import Any, Self

import pytest
import yaml

from support.admin import Admin
from weft.admin.replies import instant
from weft.cli.main import run
from weft.cli.output import print_table
from weft.local.client import AdminClient


class Today(datetime):
    """A day that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls(2026, 1, 2, 13, tzinfo=tz)


def endpoint(workload: str, health: str = "healthy") -> dict[str, Any]:
    return {"workload": workload, "address": "x", "health": health, "identity": "", "labels": {}}


def test_get_shows_a_table_or_values(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {"ports": [{"port": 9080, "name": "http"}], "selector": {"app": "reviews"}},
    }
    admin.answers["GET", "/v1/documents"] = (200, {"documents": [document]})
    ports = [{"port": 9080, "endpoints": [endpoint("a"), endpoint("b", "unhealthy")]}, {"port": 1, "endpoints": []}]
    service = {"namespace": "default", "name": "reviews", "ports": ports}
    admin.answers["GET", "/v1/services"] = (200, {"services": [service]})
    assert run(["get", "svc"]) == 0
    assert admin.asked[0][2] == {"kind": ["Service"], "namespace": ["default"]}
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["NAME", "TYPE", "PORTS", "SELECTOR", "ENDPOINTS", "SOURCE"]
    assert shown[1].split() == ["reviews", "ClusterIP", "9080/http", "app=reviews", "1/2", "healthy"]
    assert run(["get", "svc", "reviews", "-A", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metadata"]["name"] == "reviews"
    assert found["status"]["endpoints"][1] == {"workload": "b", "port": 9080, "address": "x", "health": "unhealthy"}
    assert run(["get", "svc", "-o", "yaml"]) == 0
    assert "selector:\n      app: reviews" in capsys.readouterr().out


def test_get_all_tells_two_kinds_of_one_name_apart(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    document = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "default"},
        "spec": {"gatewayClassName": "weft", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    }
    other = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "ingress", "namespace": "default"},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": []},
    }
    admin.answers["GET", "/v1/workloads"] = (200, {"workloads": []})
    admin.answers["GET", "/v1/documents"] = (200, {"documents": [document]})
    assert run(["get", "all"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("GATEWAYS")] == ["GATEWAYS"]
    admin.answers["GET", "/v1/documents"] = (200, {"documents": [document, other]})
    assert run(["get", "all", "-o", "json"]) == 0
    assert {"gateways", "gateways.networking.istio.io"} < json.loads(capsys.readouterr().out).keys()


def parent(**conditions: str) -> dict[str, Any]:
    """A parent of a route, with the reasons of the conditions that are not as they should be."""
    found = []
    for name in ("Accepted", "ResolvedRefs", "PartiallyInvalid"):
        if name != "PartiallyInvalid" or name in conditions:
            status = name == "PartiallyInvalid" or name not in conditions
            found.append({"type": name, "status": str(status), "reason": conditions.get(name, name), "message": ""})
    return {"parentRef": {"group": "", "kind": "Service", "name": "a"}, "conditions": found}


ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "r", "namespace": "default"},
    "spec": {"parentRefs": [{"name": "edge"}], "rules": [{}]},
}


@pytest.mark.parametrize(
    ("parents", "accepted", "resolved"),
    [
        ([parent()], "True", "True"),
        ([parent(), parent()], "True", "True"),
        (
            [parent(Accepted="NoMatchingListenerHostname", ResolvedRefs="BackendNotFound")],
            "False: NoMatchingListenerHostname",
            "False: BackendNotFound",
        ),
        ([parent(Accepted="NotAllowedByListeners"), parent()], "1/2", "True"),
        ([parent(Accepted="A"), parent(Accepted="B"), parent(Accepted="A")], "False: A,B", "True"),
        ([parent(PartiallyInvalid="HostConflict"), parent()], "in part: HostConflict", "True"),
        ([], "-", "-"),
    ],
)
def test_get_tells_whether_parents_accepted_a_route(
    admin: Admin, capsys: pytest.CaptureFixture[str], parents: list[dict[str, Any]], accepted: str, resolved: str
) -> None:
    admin.answers["GET", "/v1/documents"] = (
        200,
        {"documents": [{"document": ROUTE, "source": "api", "parents": parents}]},
    )
    assert run(["get", "httproutes"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    start, end = head.index("ACCEPTED"), head.index("RESOLVED REFS")
    assert row[start:end].strip() == accepted
    assert row[end : head.index("SOURCE")].strip() == resolved
    assert run(["get", "httproute", "r", "-o", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {**ROUTE, "status": {"parents": parents}}


def test_get_tells_what_is_attached_to_a_gateway(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    listeners = [
        {"name": name, "attachedRoutes": 3, "conditions": [{"type": "Programmed", "status": status}]}
        for name, status in (("http", "True"), ("tls", "False"))
    ]
    spec = {"gatewayClassName": "weft", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}
    document = {"kind": "Gateway", "metadata": {"name": "edge"}, "spec": spec}
    answers = [
        {"document": document, "listeners": listeners, "conditions": [{"type": "Programmed", "status": "False"}]},
        {"document": {**document, "metadata": {"name": "theirs"}}},
    ]
    admin.answers["GET", "/v1/documents"] = (200, {"documents": answers})
    assert run(["get", "gateways"]) == 0
    head, ours, theirs = capsys.readouterr().out.splitlines()
    assert ours[head.index("ATTACHED") :].rsplit(maxsplit=1) == ["http:3,tls:not in force", "False"]
    assert theirs[head.index("ATTACHED") :].split() == ["-", "-"]


def test_get_shows_texts_of_several_lines_as_blocks(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"mesh": "connectTimeout: 2s\nrootNamespace: root\n", "other": "one line"}
    document = {"kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "default"}, "data": data}
    admin.answers["GET", "/v1/documents"] = (200, {"documents": [document]})
    assert run(["get", "configmaps", "istio", "-o", "yaml"]) == 0
    told = capsys.readouterr().out
    assert "  mesh: |\n    connectTimeout: 2s\n    rootNamespace: root\n  other: one line\n" in told
    assert yaml.safe_load(told) == document


def test_get_of_nothing(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/documents"] = (200, {"documents": []})
    assert run(["get", "services"]) == 0
    assert "no services in namespace default" in capsys.readouterr().err
    assert run(["get", "services", "x"]) == 1
    assert run(["get", "servics"]) == 2
    assert "did you mean 'services'" in capsys.readouterr().err


def test_get_workloads(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    workload = {
        "name": "web",
        "namespace": "default",
        "service_account": "web",
        "labels": {"app": "web"},
        "ports": [{"port": 80, "inbound": {"host": "127.0.0.1", "port": 4000}}],
        "gateway": None,
        "state": "healthy",
        "connected": True,
    }
    admin.answers["GET", "/v1/workloads"] = (200, {"workloads": [workload]})
    assert run(["get", "workloads"]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row == ["default", "web", "healthy", "80@127.0.0.1:4000", "web", "app=web", "yes"]
    assert run(["get", "workload", "other"]) == 1
    assert run(["get", "workload", "wep"]) == 1
    assert "in namespace default; did you mean 'web'?" in capsys.readouterr().err
    assert run(["get", "worklods"]) == 2
    assert ", workloads" in capsys.readouterr().err


def test_get_of_a_name_that_is_not_there_tells_where_it_is_or_the_nearest(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = {"documents": [{"metadata": {"name": "default", "namespace": "istio-system"}, "spec": {}}]}
    answer = AdminClient.get

    def by_name(client: AdminClient, path: str, **query: str | None) -> Any:
        found = answer(client, path, **query)
        return {"documents": []} if query.get("name") else found

    monkeypatch.setattr(AdminClient, "get", by_name)
    admin.answers["GET", "/v1/documents"] = (200, there)
    assert run(["get", "meshconfig", "default"]) == 1
    assert "in namespace default; there is one in istio-system (-n istio-system)" in capsys.readouterr().err
    assert run(["get", "meshconfig", "defalt", "-n", "istio-system"]) == 1
    assert "did you mean 'default'?" in capsys.readouterr().err
    assert run(["get", "meshconfig", "other", "-A"]) == 1
    assert capsys.readouterr().err == "error: there is no MeshConfig 'other'\n"


def test_proxy_status_tells_who_lags_and_who_refuses(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    def status(name: str, acked: int, rejected: int) -> dict[str, Any]:
        routes = {"type": "RouteConfiguration", "sent": 2, "acked": 1, "rejected": rejected, "pending": 5 - acked}
        return {
            "name": name,
            "connected_since": instant(time.time() - 130),
            "certificate_expires": instant(time.time() + 7300),
            "revision": 5,
            "revision_acked": acked,
            "bytes_sent": 1234,
            "types": [routes],
            "last_nack": {"type": "RouteConfiguration", "resource": "outbound", "message": "no"} if rejected else None,
        }

    found = [status("a.default", 5, 0), status("b.default", 4, 0), status("c.default", 5, 1)]
    admin.answers["GET", "/v1/proxies"] = (200, {"proxies": found})
    assert run(["proxy", "status"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert rows[1] == ["a.default", "in", "sync", "5", "-", "1,234", "2m", "2h"]
    assert (rows[2][1], rows[2][3:6]) == ("pending", ["1", "routes", "pending"])
    assert (rows[3][1], rows[3][3:6]) == ("refuses", ["1", "routes", "refused"])
    assert "c.default refused RouteConfiguration outbound: no" in out
    assert "INJECTED BY" not in out
    found = [{**found[0], "injected_by": "canary"}, found[1]]
    admin.answers["GET", "/v1/proxies"] = (200, {"proxies": found})
    assert run(["proxy", "status"]) == 0
    head, first, *_ = capsys.readouterr().out.splitlines()
    assert (head.split()[-2:], first.split()[-1]) == (["INJECTED", "BY"], "canary")


def test_proxy_config_shows_tables(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    route = {
        "match": {"safeRegex": {"regex": "/a.*"}, "headers": [{}]},
        "route": {"weightedClusters": {"clusters": [{"name": "v1", "weight": 90}, {"name": "v3", "weight": 10}]}},
        "metadata": {"filterMetadata": {"weft": {"src": "r.yaml:3"}}},
    }
    routes = {"name": "outbound", "virtualHosts": [{"domains": ["reviews:9080", "reviews"], "routes": [route]}]}
    endpoint = {"endpoint": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 80}}}}
    answer = {
        "proxy": "web.default",
        "revision": 3,
        "clusters": [{"name": "c", "type": "EDS", "lbPolicy": "LEAST_REQUEST", "transportSocket": {}}],
        "endpoints": [{"clusterName": "c", "endpoints": [{"lbEndpoints": [endpoint]}]}, {"clusterName": "empty"}],
        "listeners": [{"name": "l", "address": endpoint["endpoint"]["address"], "filterChains": [{}]}],
        "routes": [routes],
        "secrets": [],
    }
    admin.answers["GET", "/v1/proxies/web/config/all"] = (200, answer)
    assert run(["proxy", "config", "web"]) == 0
    out = capsys.readouterr()
    assert "outbound  reviews (+1)  ~ /a.* +1 headers  v1:90 v3:10  r.yaml:3" in out.out
    assert "c        127.0.0.1:80  HEALTHY" in out.out
    assert "empty    (none)" in out.out
    assert "no secrets" in out.err
    assert run(["proxy", "config", "web", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer
    assert run(["proxy", "config", "web", "cluster"]) == 2


def test_proxy_config_shows_the_certificate_in_use(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    own = {"name": "identity", "identity": "spiffe://m/ns/a/sa/b", "expires": "2026-01-01T00:00:00.000Z", "file": "f"}
    given = {"name": "kubernetes://shop", "tls_certificate": {}, "origins": ["s.yaml:1"]}
    admin.answers["GET", "/v1/proxies/web/config/secrets"] = (200, {"secrets": [own, given]})
    assert run(["proxy", "config", "web", "secrets"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["NAME", "HOLDS", "EXPIRES", "SOURCE"]
    assert rows[1] == ["identity", "certificate", "of", "spiffe://m/ns/a/sa/b", "2026-01-01T00:00:00.000Z", "f"]
    assert rows[2] == ["kubernetes://shop", "tls_certificate", "s.yaml:1"]


def test_get_all_shows_every_kind_there_is(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/documents"] = (200, {"documents": [{"document": ROUTE, "source": "api"}]})
    admin.answers["GET", "/v1/workloads"] = (200, {"workloads": []})
    assert run(["get", "all", "-A"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "HTTPROUTES" and "WORKLOADS" in out and "SERVICES" not in out
    assert run(["get", "all", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"httproutes": [ROUTE], "workloads": []}
    assert run(["get", "all", "x"]) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["get"], "expected one of namespaces,"),
        (["get", "pods"], "get workloads"),
        (["get", "endpoints"], "get services"),
        (["get", "proxies"], "proxy status"),
        (["get", "services", "--json"], "-o json"),
    ],
)
def test_get_answers_the_words_of_other_tools(
    words: list[str], told: str, admin: Admin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert told in capsys.readouterr().err


def test_audit_shows_the_latest_last(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    event = {"who": "me", "action": "apply", "object": "Service default/a", "detail": ""}
    events = [
        {**event, "time": "2026-01-01T00:00:02.000Z", "outcome": "done", "revision": 7},
        {**event, "time": "2026-01-01T00:00:01.000Z", "outcome": "refused", "detail": "why"},
    ]
    admin.answers["GET", "/v1/events"] = (200, {"events": events})
    assert run(["audit"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert (
        [row[0][-5:] for row in rows[1:]] == [".000Z", ".000Z"]
        and rows[1][-1] == "why"
        and rows[2][-2:] == ["revision", "7"]
    )
    words = ["--refused", "--who", "ci", "--what", "undo", "--since", "2026-01-01T00:00:00Z"]
    assert run(["audit", *words, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == events[::-1]
    assert admin.asked[-1][2] == {
        "who": ["ci"],
        "what": ["undo"],
        "since": ["2026-01-01T00:00:00+00:00"],
        "limit": ["50"],
        "outcome": ["refused"],
    }
    assert run(["audit", "--since", "2h", "--limit", "1", "-o", "jsonl"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == events[::-1]
    assert run(["audit", "--since", "yesterday"]) == 2


def test_the_audit_is_exported_and_verified(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    head = {"number": 3, "hash": "ab", "time": "2026-01-01T00:00:00.000Z"}
    chain = {"intact": True, "findings": [], "head": head, "covered": 2, "forgotten": 0, "not_covered_yet": 1}
    admin.answers["GET", "/v1/audit/chain"] = (200, chain)
    admin.answers["GET", "/v1/events"] = (200, {"events": [{"who": "me"}]})
    assert run(["audit", "export"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"who": "me"}, {"chain": head}]
    assert run(["audit", "verify"]) == 0
    assert "the audit is intact: 2 events" in capsys.readouterr().out
    broken = {**chain, "intact": False, "findings": ["an entry of audit was changed: 1"]}
    admin.answers["GET", "/v1/audit/chain"] = (200, broken)
    assert run(["audit", "verify"]) == 1
    assert "was changed: 1" in capsys.readouterr().out
    assert run(["audit", "verify", "-o", "json"]) == 1


def test_tables_fit_the_terminal_and_are_whole_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ("a", "b" * 60, "c" * 30)
    print_table(("ONE", "TWO", "THREE"), [row])
    assert row[1] in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_table(("ONE", "TWO", "THREE"), [row])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == 50 and "b…" in lines[1] and lines[1].endswith("c…")
    print_table(("NAME", "SOURCE"), [("a", "b/" * 40 + "reviews.yaml:12")])
    shown = capsys.readouterr().out.splitlines()[1]
    assert len(shown) == 50 and shown.startswith("a     …") and shown.endswith("/reviews.yaml:12")
    monkeypatch.setattr("weft.cli.output.datetime", Today)
    print_table(("TIME", "WHAT"), [("2026-01-02T12:00:00.000Z", "b" * 60), ("2026-01-02T12:00:01.000Z", "c")])
    assert [line[:15] for line in capsys.readouterr().out.splitlines()[1:]] == ["12:00:00.000Z  ", "12:00:01.000Z  "]
    print_table(("TIME", "WHAT"), [("2026-01-01T12:00:00.000Z", "b" * 60)])
    assert capsys.readouterr().out.splitlines()[1].startswith("2026-01-01T12:00:00.000Z")
    monkeypatch.setenv("COLUMNS", "10")
    print_table(("ONE", "TWO", "THREE"), [row])
    assert capsys.readouterr().out.splitlines()[1] == "a    bbbbbbb…  ccccccc…"
