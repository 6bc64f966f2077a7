"""CredentialPolicy and CsrfPolicy at a real gateway: who shows no key gets nothing, and keys change at once."""

from __future__ import annotations

import base64
import hashlib

from support.http import Answer, Client
from support.mesh import Mesh

ROUTES = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: keyed}
spec:
  parentRefs: [{name: front}]
  hostnames: [keyed.example.com]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: users}
spec:
  parentRefs: [{name: front}]
  hostnames: [users.example.com]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: weft.dev/v1alpha1
kind: CredentialPolicy
metadata: {name: partners}
spec:
  targetRefs: [{kind: HTTPRoute, name: keyed}]
  apiKey:
    from: {headers: [x-api-key], params: [key], cookies: [key]}
    secretRefs: [{name: partners}]
    forwardClientIDHeader: x-client
---
apiVersion: weft.dev/v1alpha1
kind: CredentialPolicy
metadata: {name: users}
spec:
  targetRefs: [{kind: HTTPRoute, name: users}]
  basicAuth: {users: {name: users}, forwardUsernameHeader: x-user}
---
apiVersion: weft.dev/v1alpha1
kind: CsrfPolicy
metadata: {name: users}
spec: {targetRefs: [{kind: HTTPRoute, name: users}], additionalOrigins: ["*.friends.example.com"]}
"""
KEYS = "apiVersion: v1\nkind: Secret\nmetadata: {name: partners}\nstringData: {acme: KEY}\n"
FIRST, SECOND = "first-key-5c1f9d", "second-key-77aa01"
PASSWORD = "correct horse"


Front = tuple[Client, str]


def test_keys_and_passwords(world: Mesh, front: Front) -> None:
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode(), usedforsecurity=False).digest()).decode()
    users = (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: users}}\nstringData: {{.htpasswd: 'ann:{{SHA}}{digest}'}}\n"
    )
    documents = "---\n".join((ROUTES, KEYS.replace("KEY", FIRST), users))
    with world.applied(documents):
        _api_keys(world, *front)
        _passwords(front[1])
        _nothing_is_shown(world, digest)


def _api_keys(world: Mesh, client: Client, front: str) -> None:

    def ask(path: str = "/", **headers: str) -> tuple[int, dict[str, str]]:
        lines = {"host": "keyed.example.com", **{name.replace("_", "-"): value for name, value in headers.items()}}
        answer = client(f"{front}{path}", headers=lines)
        return answer.status, _headers(answer) if answer.status == 200 else {}

    assert ask()[0] == 401
    assert ask(x_api_key="wrong")[0] == 401
    assert ask(x_api_key=FIRST, x_client="root")[0] == 200
    for given in ({"x_api_key": FIRST}, {"path": f"/?key={FIRST}"}, {"cookie": f"key={FIRST}"}):
        status, seen = ask(**given)
        assert status == 200, given
        assert seen["x-client"] == "acme"
        assert FIRST not in str(seen), "the application does not see the key"
    world.apply(KEYS.replace("KEY", SECOND))
    assert ask(x_api_key=FIRST)[0] == 401, "on a connection that was open before"
    assert ask(x_api_key=SECOND)[0] == 200
    world.weft("delete", "secret", "partners", "--wait")
    assert ask(x_api_key=SECOND)[0] == 403, "without its Secret nobody is let in"
    assert "unknown-secret" in [problem["code"] for problem in world.problems()]
    world.apply(KEYS.replace("KEY", SECOND))
    assert ask(x_api_key=SECOND)[0] == 200


def _passwords(front: str) -> None:
    def ask(password: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        shown = base64.b64encode(f"ann:{password}".encode()).decode()
        lines = {"host": "users.example.com", "authorization": f"Basic {shown}", "x-user": "root", **headers}
        answer = Client()(front, method, headers=lines)
        return answer.status, _headers(answer)["x-user"] if answer.status == 200 else ""

    assert ask("wrong")[0] == 401
    assert ask(PASSWORD) == (200, "ann")
    assert ask(PASSWORD, "POST", origin="http://users.example.com") == (200, "ann")
    assert ask(PASSWORD, "POST", origin="https://shop.friends.example.com") == (200, "ann")
    for origin in ("https://evil.example.net", "https://friends.example.com.evil.net", "null"):
        assert ask(PASSWORD, "POST", origin=origin)[0] == 403, origin
    assert ask(PASSWORD, "POST")[0] == 403


def _nothing_is_shown(world: Mesh, digest: str) -> None:
    config = world.weft("proxy", "config", "front", "routes", "-o", "json").stdout
    assert "acme" in config
    history = world.weft("history", "-o", "json").stdout
    for secret in (SECOND, digest):
        assert secret not in config
        assert secret not in history
        assert secret not in world.weft("get", "credentialpolicies", "-o", "yaml").stdout
    written = [path for path in world.home.rglob("*") if path.is_file() and path.suffix in (".log", ".json", ".txt")]
    for path in (*written, *world.logs.glob("*.log")):
        text = path.read_bytes()
        assert not any(secret.encode() in text for secret in (FIRST, SECOND, digest)), path


def _headers(answer: Answer) -> dict[str, str]:
    """The request's headers as the application saw them."""
    return {name.lower(): value for name, value in answer.json()["headers"]}
