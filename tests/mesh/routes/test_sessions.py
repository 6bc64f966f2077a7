"""Sessions of HTTPRoutes and GRPCRoutes: names, paths, what cannot be kept, and where requests of one go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.evaluate import evaluate
from support.meshdocs import Compiled, request, service, short, workload
from weft.mesh.routes.rules import Forward, Session
from weft.mesh.routes.sessions import session_names
from weft.model.workload import Workload, WorkloadState
from weft.schema.decode import decode_documents

SERVICES = service("web") + service("a") + service("b")


def route(session: str, backends: str = "[{name: a, port: 9080}]", match: str = "{}", kind: str = "HTTPRoute") -> str:
    """A route for Service web with one rule."""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: r}}
spec:
  parentRefs: [{{group: "", kind: Service, name: web}}]
  rules: [{{matches: [{match}], backendRefs: {backends}, sessionPersistence: {session}}}]
"""


def session_of(mesh: Compiled, url: str = "web/") -> Session | None:
    rule = mesh.ask(url).rule
    assert rule is not None
    assert isinstance(rule.action, Forward)
    return rule.action.session


TWO = "[{name: a, port: 9080}, {name: b, port: 9080}]"


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_what_a_rule_says(kind: str) -> None:
    said = "{sessionName: s, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}"
    assert session_of(Compiled(SERVICES, route(said, kind=kind))) == Session("cookie", "s", 3600.0)
    assert session_of(Compiled(SERVICES, route("{sessionName: s}", kind=kind))) == Session("cookie", "s")
    assert session_of(Compiled(SERVICES, route("{type: Header, sessionName: s}", kind=kind))) == Session("header", "s")


def test_a_name_that_nobody_gave_is_the_rules_own() -> None:
    one = session_of(Compiled(SERVICES, route("{}")))
    other = session_of(Compiled(SERVICES, route("{}", kind="GRPCRoute")))
    assert one is not None
    assert other is not None
    assert one.name != other.name
    assert one.name.startswith("weft-session-")


@pytest.mark.parametrize(
    ("match", "url", "path"),
    [
        ("{}", "/x", "/"),
        ("{path: {value: /a/b}}", "/a/b/c", "/a/b"),
        ("{path: {type: Exact, value: /a}}", "/a", "/a"),
        ("{path: {type: RegularExpression, value: '/p1/p2/.*/p3'}}", "/p1/p2/x/p3", "/p1/p2"),
        ("{path: {type: RegularExpression, value: '/p1|/p2'}}", "/p2", "/"),
    ],
)
def test_a_cookie_is_for_the_paths_of_the_match(match: str, url: str, path: str) -> None:
    session = session_of(Compiled(SERVICES, route("{}", match=match)), f"web{url}")
    assert session is not None
    assert session.path == path


def test_a_session_over_several_backends_knows_its_backend() -> None:
    text = route("{sessionName: s}", TWO.replace("b, port: 9080", "b, port: 9080, weight: 0"))
    mesh = Compiled(SERVICES, text, workloads=[workload("a"), workload("b", number=1)])
    rule = mesh.ask("web/").rule
    assert rule is not None
    assert isinstance(rule.action, Forward)
    assert rule.action.session is not None
    names = session_names(rule.action, rule.action.session)
    assert names[0] == "s"
    found = [short(mesh.ask("web/", headers={"cookie": f"x=1; {name}=y"})) for name in ("none", *names)]
    assert found == ["a:9080", "a:9080", "b:9080"]


def test_the_first_backend_has_the_name_that_it_had_alone() -> None:
    alone = Forward(_backends(SERVICES, "[{name: a, port: 9080}]"))
    both = Forward(_backends(SERVICES, TWO))
    session = Session("cookie", "s")
    assert session_names(alone, session)[0] == session_names(both, session)[0]
    assert len(set(session_names(both, session))) == 2


def _backends(services: str, backends: str) -> tuple:  # type: ignore[type-arg]
    rule = Compiled(services, route("{}", backends)).ask("web/").rule
    assert rule is not None
    assert isinstance(rule.action, Forward)
    return rule.action.backends


def test_a_header_keeps_no_session_over_several_backends() -> None:
    mesh = Compiled(SERVICES, route("{type: Header, sessionName: s}", TWO))
    assert (mesh.codes, session_of(mesh)) == (["session-split"], None)


@pytest.mark.parametrize(
    ("session", "field"),
    [
        ("{idleTimeout: 1h}", "idleTimeout"),
        ("{absoluteTimeout: 1h}", "absoluteTimeout"),
        ("{type: Header, absoluteTimeout: 1h}", "absoluteTimeout"),
        ("{type: Header, cookieConfig: {lifetimeType: Session}}", "cookieConfig"),
        ("{cookieConfig: {lifetimeType: Permanent}}", "sessionPersistence"),
        ("{sessionName: 'a b'}", "sessionName"),
    ],
)
def test_what_no_proxy_keeps_is_refused_by_name(session: str, field: str) -> None:
    [problem] = decode_documents(route(session), "r.yaml").problems
    assert field in str(problem.path[-1])


EDGE = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


@pytest.mark.parametrize("at_gateway", [False, True])
def test_nobody_stays_at_a_backend_that_nobody_serves(at_gateway: bool) -> None:
    text = route("{sessionName: s}", TWO.replace("b, port: 9080", "b, port: 9080, weight: 0"))
    if at_gateway:
        text = text.replace('{group: "", kind: Service, name: web}', "{name: edge}")

    def goes_to(*instances: Workload) -> str:
        mesh = Compiled(SERVICES, EDGE, text, workloads=instances)
        view = mesh.gateway("edge") if at_gateway else mesh.sidecar()
        rule = evaluate(view, request("web/")).rule
        assert rule is not None
        assert isinstance(rule.action, Forward)
        assert rule.action.session is not None
        name = session_names(rule.action, rule.action.session)[1]
        return short(evaluate(view, request("web/", headers={"cookie": f"{name}=x"})))

    first, second = workload("a"), workload("b", number=1)
    assert goes_to(first, second) == "b:9080"
    assert goes_to(first) == "a:9080"
    assert goes_to(first, replace(second, state=WorkloadState.UNHEALTHY)) == "a:9080"
