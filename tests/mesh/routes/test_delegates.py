"""Delegates of VirtualServices: how rules are joined, what is left out, and where it is told."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, documents, service, short, workload
from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Forward
from weft.model.document import Document
from weft.schema.decode import decode_documents

SERVICES = "".join(service(name) for name in ("web", "a", "b", "c")) + service("a", namespace="team")


def root(http: str, more: str = "", name: str = "root") -> str:
    """The document that has the host."""
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [web]
  {more}
  http:
{http}"""


def delegate(http: str, name: str = "part", namespace: str = "default") -> str:
    """A document without hosts."""
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  http:
{http}"""


HAND_ON = "  - match: [{uri: {prefix: /shop}}]\n    delegate: {name: part}\n  - route: [{destination: {host: c}}]\n"
RULES = """
  - match: [{uri: {prefix: /shop/cart}}]
    route: [{destination: {host: b}}]
  - route: [{destination: {host: a}}]
"""


def test_the_rules_of_a_delegate_stand_in_the_place_of_the_roots() -> None:
    mesh = Compiled(SERVICES, root(HAND_ON), delegate(RULES))
    found = [short(mesh.ask(f"web{path}")) for path in ("/shop/cart/1", "/shop/x", "/other")]
    assert (found, mesh.codes) == (["b:9080", "a:9080", "c:9080"], [])


def test_a_rule_is_told_at_the_line_of_the_delegate() -> None:
    mesh = Compiled(SERVICES, root(HAND_ON), delegate(RULES))
    rule = mesh.ask("web/shop/cart").rule
    assert rule is not None
    assert (str(rule.origin), str(rule.object)) == ("doc2.yaml:9", "VirtualService default/root")


def test_what_the_delegate_does_not_say_the_root_says() -> None:
    said = """
  - name: root
    match: [{name: m, uri: {prefix: /shop}, headers: {x-a: {exact: "1"}}, sourceLabels: {app: client}}]
    delegate: {name: part}
    timeout: 5s
    retries: {attempts: 3}
    rewrite: {uri: /r}
    headers: {request: {set: {x-root: "1"}}}
    fault: {abort: {httpStatus: 418, percentage: {value: 0}}}
    mirror: {host: c}
"""
    own = """
  - name: part
    match: [{name: n, uri: {prefix: /shop/cart}, method: {exact: GET}}]
    timeout: 1s
    route: [{destination: {host: a}}]
"""
    mesh = Compiled(SERVICES, root(said), delegate(own))
    rule = mesh.ask("web/shop/cart", headers={"x-a": "1"}).rule
    assert rule is not None
    assert isinstance(rule.action, Forward)
    assert rule.name == "root-part.m-n"
    assert (rule.action.timeout, rule.action.retry and rule.action.retry.attempts) == (1.0, 3)
    assert rule.action.path_rewrite is not None
    assert rule.action.path_rewrite.value == "/r"
    assert rule.request.set == (("x-root", "1"),)
    assert rule.fault is not None
    assert len(rule.action.mirrors) == 1
    assert short(mesh.ask("web/shop/cart")) == "404", "the root's header is asked for as well"
    assert short(mesh.ask("web/shop/cart", workload("other"), headers={"x-a": "1"})) == "404"


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("uri: {prefix: /a}", "uri: {prefix: /b}"),
        ("uri: {prefix: /a/b}", "uri: {prefix: /a}"),
        ("uri: {exact: /a}", "uri: {prefix: /a}"),
        ("uri: {prefix: /a}", "uri: {regex: /a.*}"),
        ("uri: {prefix: /a}, ignoreUriCase: true", "uri: {prefix: /a/b}"),
        ("method: {exact: GET}", "method: {exact: POST}"),
        ("headers: {x: {exact: '1'}}", "headers: {x: {exact: '2'}}"),
        ("headers: {x: {}}", "withoutHeaders: {x: {exact: '2'}}"),
        ("withoutHeaders: {y: {}}", "withoutHeaders: {y: {exact: '2'}}"),
        ("withoutHeaders: {y: {prefix: a}}", "withoutHeaders: {y: {prefix: ab}}"),
        ("queryParams: {q: {exact: '1'}}", "queryParams: {q: {prefix: '1'}}"),
        ("port: 9080", "port: 80"),
        ("sourceNamespace: default", "sourceNamespace: other"),
        ("sourceLabels: {app: a}", "sourceLabels: {app: b}"),
    ],
)
def test_a_match_outside_of_the_roots_leaves_the_rule_out(wide: str, narrow: str) -> None:
    hand_on = f"  - match: [{{{wide}}}]\n    delegate: {{name: part}}\n  - route: [{{destination: {{host: c}}}}]\n"
    rules = f"  - match: [{{{narrow}}}]\n    route: [{{destination: {{host: a}}}}]\n"
    mesh = Compiled(SERVICES, root(hand_on), delegate(rules))
    assert mesh.codes == ["delegate-conflict"]
    [problem] = mesh.mesh.problems
    assert (problem.origin and str(problem.origin), problem.object and problem.object.name) == ("doc2.yaml:8", "part")
    assert short(mesh.ask("web/a", headers={"x": "1"})) == "c:9080"


def test_a_delegate_does_not_read_the_roots_path_otherwise() -> None:
    hand_on = "  - match: [{uri: {exact: /a}}]\n    delegate: {name: part}\n  - route: [{destination: {host: c}}]\n"
    rules = "  - match: [{ignoreUriCase: true}]\n    route: [{destination: {host: a}}]\n"
    mesh = Compiled(SERVICES, root(hand_on), delegate(rules))
    assert [short(mesh.ask(f"web{path}")) for path in ("/a", "/A")] == ["a:9080", "c:9080"]


def test_each_match_of_a_delegate_is_joined_with_each_of_the_roots_that_it_lies_within() -> None:
    hand_on = "  - match: [{uri: {prefix: /a}}, {headers: {x: {exact: '1'}}}]\n    delegate: {name: part}\n"
    rules = "  - match: [{uri: {prefix: /a/b}}]\n    route: [{destination: {host: a}}]\n"
    mesh = Compiled(SERVICES, root(hand_on), delegate(rules))
    found = [short(mesh.ask("web/a/b")), short(mesh.ask("web/a/b", headers={"x": "1"})), short(mesh.ask("web/a"))]
    assert found == ["a:9080", "a:9080", "404"]


def test_a_missing_delegate_leaves_its_rule_out() -> None:
    mesh = Compiled(SERVICES, root(HAND_ON), delegate(RULES, "parts"))
    assert short(mesh.ask("web/shop")) == "c:9080"
    assert mesh.codes == ["unknown-delegate", "no-delegate-root"]
    assert mesh.mesh.problems[0].nearest == "parts"


def test_one_with_hosts_is_no_delegate() -> None:
    other = root("  - route: [{destination: {host: a}}]\n", name="part").replace("[web]", "[b]")
    mesh = Compiled(SERVICES, root(HAND_ON), other)
    assert mesh.codes == ["unknown-delegate"]


def test_short_names_of_a_delegate_are_of_its_namespace() -> None:
    hand_on = "  - delegate: {name: part, namespace: team}\n"
    mesh = Compiled(SERVICES, root(hand_on), delegate("  - route: [{destination: {host: a}}]\n", namespace="team"))
    assert (short(mesh.ask("web/")), mesh.codes) == ("a.team:9080", [])


@pytest.mark.parametrize(("whom", "found"), [("'.'", "web:9080"), ("other", "web:9080"), ("default", "a.team:9080")])
def test_a_delegate_is_for_whom_it_is_exported_to(whom: str, found: str) -> None:
    part = delegate("  - route: [{destination: {host: a}}]\n", namespace="team")
    part = part.replace("spec:", f"spec:\n  exportTo: [{whom}]")
    mesh = Compiled(SERVICES, root("  - delegate: {name: part, namespace: team}\n"), part)
    assert short(mesh.ask("web/")) == found
    missing = ["unknown-delegate"] if found == "web:9080" else []
    assert [code for code in mesh.codes if code != "differs-from-istio"] == missing


def test_a_wrong_destination_of_a_delegate_is_told_there() -> None:
    mesh = Compiled(SERVICES, root(HAND_ON), delegate("  - route: [{destination: {host: gone}}]\n"))
    assert short(mesh.ask("web/shop")) == "503"
    [problem] = mesh.mesh.problems
    assert (problem.code, problem.object and problem.object.name) == ("unknown-host", "part")


def test_two_roots_share_a_delegate() -> None:
    other = root(HAND_ON, name="other").replace("[web]", "[b]")
    mesh = Compiled(SERVICES, root(HAND_ON), other, delegate("  - route: [{destination: {host: a}}]\n"))
    assert [short(mesh.ask(f"{host}/shop")) for host in ("web", "b")] == ["a:9080", "a:9080"]
    assert mesh.codes == []


def test_at_a_gateway() -> None:
    edge = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""
    text = root(HAND_ON, "gateways: [edge]").replace("[web]", "[shop.example.com]")
    mesh = Compiled(SERVICES, edge, text, delegate(RULES))
    assert short(mesh.knock("edge", "shop.example.com/shop/cart")) == "b:9080"
    broken = Compiled(SERVICES, edge, text)
    assert (short(broken.knock("edge", "shop.example.com/shop")), broken.codes) == ("c:9080", ["unknown-delegate"])


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (root("  - delegate: {name: a}\n    route: [{destination: {host: a}}]\n"), "delegate"),
        (root("  - delegate: {name: a}\n    redirect: {uri: /a}\n"), "delegate"),
        (delegate("  - delegate: {name: a}\n"), "delegate"),
        (delegate("  - route: [{destination: {host: a}}]\n").replace("spec:", "spec:\n  gateways: [edge]"), "gateways"),
    ],
)
def test_what_cannot_be_handed_on(text: str, field: str) -> None:
    [problem] = decode_documents(text, "v.yaml").problems
    assert problem.path[-1] == field


def test_a_change_of_a_delegate_costs_its_roots_only() -> None:
    memo, fixed = Memo(), documents(SERVICES)
    roots = documents(root(HAND_ON))
    others = documents(root(HAND_ON.replace("part", "else"), name="other").replace("[web]", "[b]"))
    part, rest = documents(delegate(RULES)), documents(delegate(RULES, "else"))

    def joined(*more: tuple[Document[object], ...]) -> dict[str, Document[object]]:
        mesh = Compiled(fixed, roots, others, rest, *more, memo=memo).mesh
        return {route.document.key.name: route.document for route in mesh.routes.routes}

    first = joined(part)
    assert joined(part, documents(service("new"))) == first
    after = joined(documents(delegate(RULES)))
    assert after["other"] is first["other"]
    assert after["root"] is not first["root"]
