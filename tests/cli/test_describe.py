"""`weft describe`: the conditions, endpoints and problems of one document."""

from __future__ import annotations

import json

import pytest

from support.admin import Admin
from weft.cli.main import run


def test_describe_shows_conditions_endpoints_and_problems_at_once(
    admin: Admin, capsys: pytest.CaptureFixture[str]
) -> None:
    key = {"group": "", "kind": "Service", "namespace": "default", "name": "reviews"}
    document = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "reviews", "namespace": "default"}}
    condition = {"type": "Accepted", "status": "False", "reason": "Because", "message": "it is so"}
    answer = {
        "key": key,
        "source": "mesh.yaml",
        "line": 3,
        "document": document,
        "conditions": [condition],
        "listeners": [{"name": "http", "attachedRoutes": 1, "conditions": [condition]}],
        "parents": [{"parentRef": {**key, "name": "web", "sectionName": "http"}, "conditions": [condition]}],
    }
    endpoint = {"workload": "reviews-1.default", "address": "127.0.0.1:20001", "health": "healthy", "locality": "eu/a"}
    addresses = {"kind": "Service", "headless": False, "addresses": ["240.240.0.1", "fd77::1"]}
    services = [
        {"name": "reviews", "namespace": "default", "ports": [{"port": 80, "endpoints": [endpoint]}], **addresses},
        {"name": "reviews", "namespace": "other", "ports": [{"port": 81, "endpoints": [endpoint]}], **addresses},
    ]
    problem = {"severity": "error", "message": "it is wrong", "source": "mesh.yaml", "line": 4, "object": None}
    admin.answers["GET", "/v1/documents"] = (200, {"documents": [answer]})
    admin.answers["GET", "/v1/problems"] = (200, {"problems": [{**problem, "object": key}, problem]})
    admin.answers["GET", "/v1/services"] = (200, {"services": services})
    assert run(["describe", "svc", "reviews"]) == 0
    assert admin.asked[1][1:3] == ("/v1/problems", {"at_once": ["1"]})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Service default/reviews, from mesh.yaml:3"
    titles = [line for line in lines if line and not line[0].isupper() and "=" not in line]
    assert titles[:5] == [
        "addresses: 240.240.0.1, fd77::1",
        "conditions",
        "listener http, 1 route",
        "parent Service default/web section http",
        "endpoints",
    ]
    assert [line.split() for line in lines if line.startswith("80")] == [["80", *endpoint.values()]]
    assert sum("it is wrong" in line for line in lines) == 1
    assert run(["describe", "svc", "reviews", "-o", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["status"]["conditions"] == [condition]
    assert (len(shown["problems"]), shown["endpoints"]) == (1, [{"port": 80, **endpoint}])
    assert shown["addresses"] == addresses["addresses"]


def test_describe_says_when_there_is_no_such_document(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/documents"] = (200, {"documents": []})
    assert run(["describe", "httproute", "r"]) == 1
    assert "there is no HTTPRoute 'r' in namespace default" in capsys.readouterr().err
