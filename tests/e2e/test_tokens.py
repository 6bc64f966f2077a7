"""RequestAuthentication with real Envoys: keys come and stay, policies know the token, a gateway checks too."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.envoy import free_port
from support.http import Answer, Client, steady_load
from support.mesh import APPS, Mesh, until
from support.tokens import Issuer, KeyServer, new_key

PORTS = ("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {jwksAllowedNetworks: [127.0.0.0/8]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: edge}
spec: {parentRefs: [{name: edge}], hostnames: [shop.example], rules: [{backendRefs: [{name: echo, port: 80}]}]}
"""
TOKENS = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: echo}
spec:
  TARGET
  jwtRules:
    - issuer: https://issuer.example
      jwksUri: KEYS/keys
      audiences: [echo]
      outputClaimToHeaders: [{header: x-subject, claim: sub}, {header: x-team, claim: team.name}]
"""
SELECTED = "selector: {matchLabels: {app: echo}}"
REQUIRED = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  rules:
    - from: [{source: {requestPrincipals: ["https://issuer.example/*"]}}]
      when:
        - {key: "request.auth.claims[groups]", values: [staff]}
        - {key: "request.auth.claims[team][name]", values: ["red*"]}
        - {key: request.auth.audiences, values: [echo]}
"""
GOOD = Issuer()


@pytest.fixture
def keys() -> Iterator[KeyServer]:
    server = KeyServer()
    yield server
    server.stop()


@pytest.fixture
def party(mesh: Mesh) -> Mesh:
    """A mesh of its own with echo, which a caller calls."""
    mesh.serve(*PORTS)
    mesh.apply(DOCUMENTS)
    for name in ("echo", "caller"):
        mesh.echo(name, wait=False)
    mesh.wait_healthy("echo", "caller")
    return mesh


def told(answer: Answer) -> dict[str, str]:
    """The headers that the application got."""
    assert answer.status == 200, answer.body
    return {name.lower(): value for name, value in answer.json()["headers"]}


def bearer(token: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", **headers}


def token(issuer: Issuer = GOOD, **claims: Any) -> str:
    return issuer.token(**{"aud": "echo", "groups": ["staff"], "team": {"name": "red-1"}, **claims})


def test_keys_come_stay_over_a_restart_and_policies_know_the_token(party: Mesh, keys: KeyServer) -> None:
    client = Client(party.proxy_of("caller"))

    def status(**headers: str) -> int:
        return client("http://echo/", headers=headers).status

    def codes() -> list[str]:
        return sorted(problem["code"] for problem in party.problems())

    until("it is answered", lambda: status() == 200)
    document = TOKENS.replace("TARGET", SELECTED).replace("KEYS", keys.url)
    party.weft("apply", "-f", "-", "--wait", stdin=document, check=False)
    assert status() == 200, "without a token"
    assert status(**bearer(token())) == 401, "there are no keys yet"
    until("the problem is told", lambda: codes() == ["keys-not-fetched"])
    keys.pages["/keys"] = GOOD.jwks
    until("the keys are there", lambda: status(**bearer(token())) == 200, 60)
    until("the problem is gone", lambda: codes() == [])
    headers = told(client("http://echo/", headers=bearer(token(), **{"x-subject": "evil", "x-team": "evil"})))
    assert (headers["x-subject"], headers["x-team"]) == ("alice", "red-1")
    assert "authorization" not in headers
    assert not {"x-subject", "x-team"} & told(client("http://echo/", headers={"x-subject": "evil"})).keys()
    assert status(**bearer(token(Issuer(key=new_key())))) == 401

    party.apply(REQUIRED)
    assert status() == 403
    for claims, expected in (
        ({}, 200),
        ({"groups": "staff"}, 200),
        ({"groups": ["guests", "staff"]}, 200),
        ({"groups": ["staffer"]}, 403),
        ({"groups": None}, 403),
        ({"team": {"name": "blue"}}, 403),
        ({"team": "red-1"}, 403),
        ({"aud": ["other", "echo"]}, 200),
        ({"aud": "other"}, 403),
        ({"iss": "https://other.example"}, 401),
    ):
        assert status(**bearer(token(**claims))) == expected, claims

    keys.pages.clear()
    party.processes["control-plane"].stop()
    assert status(**bearer(token())) == 200, "traffic does not need the control plane"
    party.serve(*PORTS)
    until("it is told that the keys are old ones", lambda: codes() == ["keys-outdated"])
    for _ in range(20):
        assert status(**bearer(token())) == 200
        assert status() == 403
    client.close()


def test_a_document_that_cannot_be_understood_closes_what_it_names(mesh: Mesh, tmp_path: Path) -> None:
    files = tmp_path / "documents"
    files.mkdir()
    (files / "mesh.yaml").write_text(DOCUMENTS)
    mesh.serve(*PORTS, "--documents", str(files))
    for name in ("echo", "other", "caller"):
        mesh.echo(name, wait=False)
    mesh.wait_healthy("echo", "other", "caller")
    (files / "other.yaml").write_text(DOCUMENTS.partition("---")[0].replace("echo", "other"))
    client = Client(mesh.proxy_of("caller"))
    until("both answer", lambda: {client(f"http://{name}/").status for name in ("echo", "other")} == {200})
    broken = TOKENS.replace("TARGET", SELECTED).replace("jwksUri: KEYS/keys", "jwks: nothing")
    (files / "tokens.yaml").write_text(broken)
    until("it is closed", lambda: client("http://echo/").status == 403)
    assert client("http://echo/", headers=bearer(token())).status == 403
    assert client("http://other/").status == 200
    assert {problem["code"] for problem in mesh.problems()} == {"bad-value", "policy-unreadable"}
    (files / "tokens.yaml").unlink()
    until("it is open", lambda: client("http://echo/").status == 200)
    client.close()


def test_a_gateway_checks_tokens(party: Mesh, keys: KeyServer) -> None:
    port = free_port()
    party.gateway("edge", f"80=127.0.0.1:{port}")
    keys.pages["/keys"] = GOOD.jwks
    client = Client()

    def ask(headers: dict[str, str] | None = None) -> Answer:
        return client(f"http://127.0.0.1:{port}/", headers={"Host": "shop.example", **(headers or {})})

    until("the gateway answers", lambda: ask().status == 200)
    target = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]"
    party.apply(TOKENS.replace("TARGET", target).replace("KEYS", keys.url))
    until("a right token passes", lambda: ask(bearer(token())).status == 200)
    assert ask(bearer(token(exp=1))).status == 401
    headers = told(ask(bearer(token(), **{"X-Subject": "evil"})))
    assert headers["x-subject"] == "alice"
    config = json.loads(party.weft("proxy", "config", "edge", "filters", "-o", "json").stdout)
    assert "issuer.example" in json.dumps(config)
    client.close()


SERVED = """
apiVersion: v1
kind: Service
metadata: {name: issuer}
spec: {selector: {app: issuer}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: echo, annotations: {weft.dev/jwks-fetch: proxy}}
spec:
  selector: {matchLabels: {app: echo}}
  jwtRules: [{issuer: "https://issuer.example", jwksUri: "http://issuer/keys.json"}]
"""


def test_proxies_fetch_keys_from_a_service_of_the_mesh(party: Mesh, tmp_path: Path) -> None:
    """The control plane cannot: it is no workload. Until the service is there, tokens are refused."""
    client = Client(party.proxy_of("caller"))
    until("it is answered", lambda: client("http://echo/").status == 200)
    party.apply(SERVED)
    assert client("http://echo/").status == 200
    assert client("http://echo/", headers=bearer(token())).status == 401
    (tmp_path / "keys.json").write_text(GOOD.jwks)
    party.run("issuer", [sys.executable, str(APPS / "files.py"), str(tmp_path)], health="http:/keys.json")
    until("the keys are there", lambda: client("http://echo/", headers=bearer(token())).status == 200, 60)
    assert client("http://echo/", headers=bearer(token(Issuer(key=new_key())))).status == 401
    client.close()
    document = SERVED.partition("---")[2].replace("weft.dev/jwks-fetch: proxy", "")
    refused = party.weft("apply", "-f", "-", stdin=document, check=False)
    assert "is a service of the mesh, which takes calls of workloads only" in refused.stdout + refused.stderr


def test_policies_and_keys_change_without_a_window(party: Mesh, keys: KeyServer, tmp_path: Path) -> None:
    """The first policy refuses nobody for want of a configuration, and no change ever lets a wrong token pass."""
    keys.pages["/keys"] = GOOD.jwks
    caller = "http://{}:{}".format(*party.proxy_of("caller"))
    client = Client(party.proxy_of("caller"))
    until("it is answered", lambda: client("http://echo/").status == 200)
    document = TOKENS.replace("TARGET", SELECTED).replace("KEYS", keys.url)
    inline = document.replace(f"jwksUri: {keys.url}/keys", f"jwks: '{GOOD.jwks}'")

    def changes() -> None:
        for _ in range(4):
            party.apply(inline)
            party.apply(inline.replace("audiences: [echo]", "audiences: [echo, other]"))
            party.delete(inline)

    without = asyncio.run(steady_load("http://echo/", caller, 100, lambda: asyncio.to_thread(changes)))
    assert set(without.statuses) == {"200"}, without.failures[:3]
    assert without.sent > 100

    party.apply(inline)
    party.apply(REQUIRED)
    wrong, right = Client(party.proxy_of("caller")), Client(party.proxy_of("caller"))
    bad, good = bearer(token(Issuer(key=new_key()))), bearer(token())
    until("a right token passes", lambda: right("http://echo/", headers=good).status == 200)
    seen: list[tuple[int, int]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            seen.append((wrong("http://echo/", headers=bad).status, right("http://echo/", headers=good).status))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for number in range(6):
            other = Issuer(f"https://{number}.example").jwks
            rule = f"    - {{issuer: 'https://{number}.example', jwks: '{other}'}}\n"
            party.apply(inline.rstrip() + "\n" + rule)
            party.apply(inline.replace("x-team", f"x-team-{number}"))
    finally:
        stop.set()
        asking.join(30)
    assert {status for status, _ in seen} == {401}
    assert {status for _, status in seen} == {200}
    assert len(seen) > 20
    for each in (client, wrong, right):
        each.close()


def test_a_refused_token_is_explained_and_stands_nowhere(party: Mesh, tmp_path: Path) -> None:
    client = Client(party.proxy_of("caller"))
    until("it is answered", lambda: client("http://echo/").status == 200)
    party.apply(TOKENS.replace("TARGET", SELECTED).replace("jwksUri: KEYS/keys", f"jwks: '{GOOD.jwks}'"))
    expired = token(exp=1)
    assert client("http://echo/a", headers=bearer(expired)).status == 401
    assert client(f"http://echo/b?access_token={expired}").status == 401
    assert (
        client("http://echo/c", headers={"Authorization": f"bearer {expired}", "Cookie": f"t={expired}"}).status == 401
    )
    found = until(
        "it is noted",
        lambda: [each for each in party.items("requests?failed=true") if "jwt_authn" in each.get("details", "")],
    )
    explained = party.weft("explain", found[0]["id"], check=False)
    text = explained.stdout + explained.stderr
    assert "token-refused" in text or "refused the token" in text, text
    assert "RequestAuthentication default/echo" in text
    client.close()
    party.stop()
    signature = expired.rpartition(".")[2].encode()
    holding = [path for root in (party.home, party.logs) for path in root.rglob("*") if path.is_file()]
    assert len(holding) > 10
    assert [path for path in holding if signature in path.read_bytes()] == []
