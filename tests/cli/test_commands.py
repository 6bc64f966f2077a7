"""Commands against a small server that answers as the admin API does."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest
import yaml

from support.admin_server import Admin
from weft.cli.main import run, weft
from weft.local.client import AdminClient
from weft.settings.home import Home

KEY = {"group": "networking.istio.io", "kind": "VirtualService", "namespace": "default", "name": "reviews"}
PROBLEM = {
    "severity": "error",
    "code": "unknown-field",
    "message": "unknown field 'hostz'",
    "source": "routes.yaml",
    "line": 7,
    "path": "spec.hostz",
    "expected": "one of hosts, http",
    "nearest": "hosts",
    "object": KEY,
}


def applied(change: str = "created", **more: Any) -> dict[str, Any]:
    return {"revision": 3, "documents": [{"key": KEY, "change": change}], "problems": [], "wait": None, **more}


def test_without_a_control_plane_the_exit_code_is_3_and_the_way_out_is_told(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["get", "services"]) == 3
    told = capsys.readouterr().err
    assert f"weft serve --home {home.root}" in told
    assert "--home DIR" in told


def test_a_control_plane_that_was_killed_is_not_reached(
    home: Home, admin: Admin, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.shutdown()
    admin.server_close()
    assert run(["problems"]) == 3
    assert "does not answer" in capsys.readouterr().err


def test_apply_sends_the_file_with_its_name_and_the_token(
    admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.answers["POST", "/v1/documents"] = (200, applied())
    (tmp_path / "my routes.yaml").write_text("kind: VirtualService\n")
    assert run(["apply", "-f", "my routes.yaml", "-n", "shop"]) == 0
    _, _, query, headers, body = admin.asked[0]
    assert unquote(headers["x-weft-source"]) == "my routes.yaml"
    assert headers["authorization"] == "Bearer secret"
    assert query == {"namespace": ["shop"]}
    assert body == "kind: VirtualService\n"
    assert capsys.readouterr().out == "VirtualService default/reviews created\n"


def test_a_mesh_file_is_not_applied(admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "shop"
    place.mkdir()
    (place / "weft.yaml").write_text("workloads: []\n")
    (place / "a.yaml").write_text("kind: A\n")
    assert run(["apply", "-f", "shop/weft.yaml"]) == 2
    assert "weft up -f shop/weft.yaml" in capsys.readouterr().err
    admin.answers["POST", "/v1/documents"] = (200, applied())
    assert run(["apply", "-f", str(place)]) == 0
    assert len(admin.asked) == 1


def test_apply_checks_every_file_before_it_writes_one(
    admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.answers["POST", "/v1/documents"] = (422, {"error": "nothing was changed", "problems": [PROBLEM]})
    for name in ("a.yaml", "b.yml", "c.json", "ignored.txt"):
        (tmp_path / name).write_text("x: 1\n")
    assert run(["apply", "-f", "."]) == 1
    assert [query["dry_run"] for _, _, query, _, _ in admin.asked] == [["1"]]
    told = capsys.readouterr().err
    for part in ("routes.yaml:7", "spec.hostz", "unknown field", "expected one of hosts", "'hosts'", "nothing was"):
        assert part in told


@pytest.mark.parametrize(
    ("wait", "code", "told"),
    [
        ({"confirmed": ["a.default", "b.default"], "nacked": [], "pending": []}, 0, "confirmed by 2 proxies"),
        ({"confirmed": [], "nacked": [], "pending": []}, 0, "nothing changed for any connected proxy"),
        ({"confirmed": [], "nacked": [], "pending": ["slow.default"]}, 4, "not confirmed in time: slow.default"),
        (
            {
                "confirmed": [],
                "nacked": [
                    {
                        "proxy": "a.default",
                        "type": "RouteConfiguration",
                        "resource": "outbound",
                        "message": "bad regex",
                        "origins": [{"source": "r.yaml", "line": 4}],
                    }
                ],
                "pending": [],
            },
            1,
            "a.default refused RouteConfiguration outbound: bad regex\n    because of r.yaml:4",
        ),
    ],
)
def test_apply_wait_says_what_the_proxies_said(
    admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str], wait: Any, code: int, told: str
) -> None:
    admin.answers["POST", "/v1/documents"] = (200, applied(wait=wait))
    (tmp_path / "r.yaml").write_text("x: 1\n")
    assert run(["apply", "-f", "r.yaml", "--wait", "--timeout", "7"]) == code
    assert 6 < float(admin.asked[0][2]["wait"][0]) <= 7
    assert told in capsys.readouterr().err


def test_a_dry_run_shows_the_difference(admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = applied("configured")
    answer["documents"][0]["diff"] = "-old\n+new"
    admin.answers["POST", "/v1/documents"] = (200, answer)
    (tmp_path / "r.yaml").write_text("x: 1\n")
    assert run(["apply", "-f", "r.yaml", "--dry-run", "--wait"]) == 0
    assert admin.asked[0][2] == {"namespace": ["default"], "dry_run": ["1"]}
    assert "configured (dry run)\n-old\n+new\n" in capsys.readouterr().out


def test_delete_by_name_and_by_file(admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = "/v1/documents/VirtualService/default/reviews"
    admin.answers["DELETE", path] = (200, applied("deleted"))
    assert run(["delete", "vs", "reviews"]) == 0
    text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\nspec:\n"
    (tmp_path / "r.yaml").write_text(text + "  hosts: [reviews]\n  http: [{route: [{destination: {host: reviews}}]}]\n")
    assert run(["delete", "-f", "r.yaml"]) == 0
    assert [(method, asked) for method, asked, *_ in admin.asked] == [("DELETE", path)] * 2
    assert run(["delete", "vs", "other"]) == 1
    assert "there is no such document" in capsys.readouterr().err
    assert run(["delete", "vs", "other", "--ignore-not-found"]) == 0
    assert run(["delete", "vs"]) == 2
    assert run(["delete"]) == 2


def test_get_shows_a_table_or_values(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {"ports": [{"port": 9080, "name": "http"}], "selector": {"app": "reviews"}},
    }
    admin.answers["GET", "/v1/documents"] = (200, {"documents": [document]})
    assert run(["get", "svc"]) == 0
    assert admin.asked[0][2] == {"kind": ["Service"], "namespace": ["default"]}
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["NAME", "TYPE", "PORTS", "SELECTOR", "SOURCE"]
    assert shown[1].split() == ["reviews", "ClusterIP", "9080/http", "app=reviews"]
    assert run(["get", "svc", "reviews", "-A", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["metadata"]["name"] == "reviews"
    assert run(["get", "svc", "-o", "yaml"]) == 0
    assert "selector:\n      app: reviews" in capsys.readouterr().out


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
        {"document": document, "listeners": listeners},
        {"document": {**document, "metadata": {"name": "theirs"}}},
    ]
    admin.answers["GET", "/v1/documents"] = (200, {"documents": answers})
    assert run(["get", "gateways"]) == 0
    head, ours, theirs = capsys.readouterr().out.splitlines()
    assert ours[head.index("ATTACHED") :].strip() == "http:3,tls:not in force"
    assert theirs[head.index("ATTACHED") :].strip() == "-"


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
        routes = {"type": "RouteConfiguration", "sent": 2, "acked": 1, "rejected": rejected}
        return {
            "name": name,
            "connected": time.time() - 130,
            "certificate_expires": time.time() + 7300,
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
    assert rows[1] == ["a.default", "in", "sync", "5", "-", "-", "-", "1/2", "-", "1,234", "2m", "2h"]
    assert rows[2][1] == "pending"
    assert rows[3][1] == "refuses"
    assert "c.default refused RouteConfiguration outbound: no" in out


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


def test_problems_are_listed_and_make_the_exit_code(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/problems"] = (200, {"problems": [PROBLEM]})
    assert run(["problems"]) == 1
    assert "routes.yaml:7: error: spec.hostz: unknown field" in capsys.readouterr().err
    admin.answers["GET", "/v1/problems"] = (200, {"problems": [{**PROBLEM, "severity": "warning"}]})
    assert run(["problems", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["line"] == 7


def test_the_token_is_not_shown_to_another_users_process(
    admin: Admin, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control plane that was killed leaves its port and its process id for anybody to take."""

    def foreign(_pid: int, _number: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.kill", foreign)
    assert run(["problems"]) == 3
    assert "no control plane is running" in capsys.readouterr().err
    assert not admin.asked


def test_names_are_completed_from_the_running_mesh(admin: Admin) -> None:
    documents = [{"metadata": {"name": name}} for name in ("reviews", "ratings", "details")]
    admin.answers["GET", "/v1/documents"] = (200, {"documents": documents})
    workloads = [{"name": "reviews-v1", "namespace": "default"}, {"name": "rest", "namespace": "far"}]
    admin.answers["GET", "/v1/workloads"] = (200, {"workloads": workloads})
    admin.answers["GET", "/v1/proxies"] = (200, {"proxies": [{"name": "reviews-v1.default"}]})

    def offered(command: str, parameter: str, typed: str, *words: str) -> list[str]:
        found = get_command(command)
        context = found.make_context(command, list(words), resilient_parsing=True)
        argument = next(one for one in found.params if one.name == parameter)
        return [item.value for item in argument.shell_complete(context, typed)]

    assert offered("get", "name", "r", "svc") == ["ratings", "reviews"]
    assert admin.asked[0][2] == {"kind": ["Service"], "namespace": ["default"]}
    assert offered("delete", "names", "d", "vs", "-n", "far") == ["details"]
    assert admin.asked[1][2] == {"kind": ["VirtualService"], "namespace": ["far"]}
    assert offered("get", "name", "r", "workloads") == ["reviews-v1"]
    assert offered("get", "name", "r", "workloads", "-A") == ["rest", "reviews-v1"]
    assert offered("proxy config", "name", "") == ["reviews-v1.default"]


def get_command(name: str) -> click.Command:
    """The command called `name`, which may have two words."""
    found: click.Command = weft
    for word in name.split():
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), word)
        assert inner is not None
        found = inner
    return found
