"""Signing requests, join tokens, admin tokens, users' tokens and node ids, wrong in every way that we know of, against
a running mesh: each is refused, each refusal is on record, and the right one is let in after them."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial

import pytest

from envoy_facts.test_tokens import GOOD, RSA, WRONG
from security.test_attacks import control_port, gateway_of, say
from security.test_greedy_workloads import client_context
from security.test_hostile_certificates import stolen, xds_answer
from support.csrs import hostile_requests, signing_request
from support.http import tls_context
from support.mesh import Mesh, until
from weft.model.identity import SpiffeId
from weft.model.printable import printable

CLIENT = SpiffeId("cluster.local", "default", "client")
BEGINNING = 120
"""Characters: long details are cut."""
AT_ONCE = 30
"""The audit writes fifty refusals a second; asked for, it writes what it has."""


def refused(mesh: Mesh) -> Counter[str]:
    """What has been refused so far, by the reason's code."""
    events = mesh.items("events?outcome=refused&limit=2000")
    return Counter(event["detail"].partition(":")[0] for event in events)


def are_recorded(mesh: Mesh, wanted: Counter[str]) -> bool:
    return refused(mesh) >= wanted


def portions(found: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A few at a time."""
    items = list(found.items())
    for begin in range(0, len(items), AT_ONCE):
        yield dict(items[begin : begin + AT_ONCE])


@contextlib.contextmanager
def recorded(mesh: Mesh, codes: Counter[str]) -> Iterator[None]:
    """At the end these refusals are on record, besides those of before."""
    before = refused(mesh)
    yield
    assert refused(mesh) - before >= codes, (codes, refused(mesh) - before)


def agent_call(mesh: Mesh, path: str, body: object, *, shown: str = "", token: str | None = None) -> tuple[int, str]:
    """One call over a connection of its own, as the workload `shown` or as nobody: its status and code."""
    bundle = str(mesh.home / "control-plane/trust-bundle.pem")
    context = client_context(mesh, shown) if shown else tls_context(bundle)
    data = json.dumps(body).encode()
    head = f"POST /v1/workloads{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n"
    head += "\r\n" if token is None else f"Authorization: {token}\r\n\r\n"
    answer = b""
    with (
        socket.create_connection(control_port(mesh, "agent_api"), 20) as raw,
        context.wrap_socket(raw) as tls,
        contextlib.suppress(ConnectionResetError),
    ):
        tls.sendall(head.encode("latin-1") + data)
        while piece := tls.recv(65536):
            answer += piece
    with contextlib.suppress(ValueError):
        return int(answer.split()[1]), str(json.loads(answer.partition(b"\r\n\r\n")[2]).get("code", ""))
    return int(answer.split()[1]), ""


def test_no_signing_request_makes_a_certificate_but_a_right_one(target: Mesh) -> None:
    found = hostile_requests(CLIENT, "client.default")
    assert len(found) > 150
    issued: list[str] = []
    formless: list[str] = []
    for some in portions(found):
        before = refused(target)
        answers = {
            name: agent_call(target, "/default/client/certificate", {"csr": csr}, shown="client")
            for name, csr in some.items()
        }
        issued += [name for name, (status, _) in answers.items() if status not in {400, 403, 413}]
        formless += [name for name, (status, _) in answers.items() if status != 403]
        counted = before + Counter(code for status, code in answers.values() if status == 403)
        until("they are on record", partial(are_recorded, target, counted))
    assert issued == []
    assert len(formless) < 4, "no JSON of the API's form, which is a mistake and not on record"
    right = signing_request()
    assert agent_call(target, "/default/client/certificate", {"csr": right}, shown="client")[0] == 200


def token_in(text: str) -> str:
    """The join token in what ``weft token create`` prints."""
    found = re.search(r"weft-[\w-]{20,}", text)
    assert found, text
    return found[0]


def join_tokens(mesh: Mesh) -> Mapping[str, str]:
    """What is no join token for default/newcomer, as an Authorization header has it."""

    def new(account: str, *words: str) -> str:
        return token_in(mesh.weft("token", "create", "--service-account", account, *words).stdout)

    good, revoked = new("newcomer"), new("newcomer")
    mesh.weft("token", "revoke", revoked)
    admin = (mesh.home / "control-plane/admin.token").read_text().strip()
    wrong = {
        "nothing": "", "blank": " ", "a word": "guess", "shorter": good[:-1], "longer": good + "A",
        "capitals": good.upper(),
        "small letters": good.lower(), "backwards": good[::-1], "its beginning": good[:12], "twice": good + good,
        "with a comma": f"{good},{good}", "another one's": new("shop"), "of another namespace": new("newcomer",
        "-n", "other"),
        "revoked": revoked, "the admin's": admin, "SQL": "' OR 1=1 --", "a path": "../../admin.token",
        "JSON": '{"$ne": ""}',
        "wildcard": "*", "per cent": good[:-1] + f"%{ord(good[-1]):x}",
        "4 KB": "x" * 4000, "unsigned": WRONG["alg none"],
        "null": "null", "true": "true", "zero": "0", "not ASCII": good[:-1] + "\xe9",
    }  # fmt: skip
    found = {name: f"Bearer {text}" for name, text in wrong.items()}
    return {**found, "basic": f"Basic {good[5:]}", "digest": f"Digest {good[:-2]}"}


def test_no_join_token_lets_anybody_in_but_a_right_one(target: Mesh) -> None:
    wanted = {"name": "newcomer", "namespace": "default", "service_account": "newcomer"}
    body = {"workload": wanted, "csr": signing_request()}
    for some in portions(join_tokens(target)):
        before = refused(target)
        answers = {name: agent_call(target, "", body, token=token) for name, token in some.items()}
        assert [name for name, (status, _) in answers.items() if status not in {401, 403}] == [], answers
        counted = before + Counter(code for _, code in answers.values())
        until("they are on record", partial(are_recorded, target, counted))
    assert [one for one in target.items("workloads") if one["name"] == "newcomer"] == []


def admin_tokens(mesh: Mesh) -> Mapping[str, str]:
    """What is not the admin's token, as an Authorization header has it."""
    good = (mesh.home / "control-plane/admin.token").read_text().strip()
    viewer = mesh.weft("token", "create", "--role", "viewer", "--name", "hostile", "--expires", "1h").stdout.strip()
    join = token_in(mesh.weft("token", "create", "--service-account", "x").stdout)
    wrong = [
        "guess", good[:-1], good + "A", good.upper(), good[::-1], good + good, f"{good},{good}", join, viewer[:-1],
        viewer + "A", viewer.upper(), "' OR 1=1 --", "*", "null", "../admin.token", "x" * 4000, WRONG["alg none"],
        GOOD.token(), "{}", "true", f"{good}\xe9", f"{good[:-1]}%{ord(good[-1]):x}",
    ]  # fmt: skip
    found = {f"{number}: {text[:8]}": f"Bearer {text}" for number, text in enumerate(wrong)}
    schemes = {scheme: f"{scheme} {good}" for scheme in ("Basic", "Digest", "Token", "BearerX")}
    return {**found, **schemes, "no scheme": good, "the scheme alone": "Bearer"}


def test_no_admin_token_reads_anything_but_a_right_one(target: Mesh) -> None:
    """After ten in a row they are told to come later, which is recorded once; the right one is let in at once."""
    address = control_port(target, "admin")
    good = (target.home / "control-plane/admin.token").read_text().strip()
    before = refused(target)
    wrong = admin_tokens(target)
    read = [f"Authorization: {token}" for token in wrong.values()]
    head = ("GET /v1/workloads HTTP/1.1", "Host: localhost")
    statuses = {line[:40]: say(address, *head, line)[0] for line in (*read, "X-Nothing: here")}
    assert set(statuses.values()) == {401, 429}, statuses
    assert say(address, *head, f"Authorization: Bearer {good}")[0] == 200
    told = refused(target) - before
    assert told["wrong-token"] + told["token-required"] >= 10, told
    assert told["too-many-failures"] >= 1, told


NODES = [
    "", "shop.default", "front.default", "client", "client.other", "CLIENT.default", "client.default.",
    " client.default",
    "client.default ", "client.default\0", "client.default\n", "client%2edefault", "client.default/..", "*",
    "client.*",
    "sidecar~127.0.0.1~client.default~default.svc.cluster.local", "spiffe://cluster.local/ns/default/sa/client",
    "client.default,shop.default", "\x1b[2Jroot", "\u202eclient.default", "cli\u0435nt.default",
    "x" * 60_000, "../client.default",
    "client.default\r\nshop.default", "control-plane.weft-system", "${jndi:ldap://x}", "client.default;",
    "null", "0",
]  # fmt: skip


def test_a_node_id_is_never_believed(target: Mesh) -> None:
    pem = stolen(target)
    answers = {node[:60]: xds_answer(target, pem, node) for node in NODES}
    assert {code for code, _ in answers.values()} == {"PERMISSION_DENIED"}, answers
    events = target.items("events?outcome=refused&limit=2000")
    # The same refusal is recorded once in ten minutes, and other tests may have met with it: so each by its words.
    on_record = [event["detail"] for event in events if event["detail"].startswith("identity-refused: ")]
    missing = [
        words for _, words in answers.values() if not any(printable(words)[:BEGINNING] in each for each in on_record)
    ]
    assert not missing
    shown = "".join(words for _, words in answers.values()) + json.dumps(events)
    assert not {"\x1b", "\u202e", "\n"} & set(shown)


TOKENS = f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: hostile}}
spec:
  TARGET
  jwtRules:
    - {{issuer: "{GOOD.name}", jwks: '{GOOD.jwks}'}}
    - {{issuer: "{RSA.name}", jwks: '{RSA.jwks}'}}
"""


@pytest.mark.parametrize("where", ["gateway", "inbound"])
def test_no_users_token_passes_but_a_right_one(target: Mesh, where: str) -> None:
    chosen = {
        "gateway": "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]",
        "inbound": "selector: {matchLabels: {app: shop}}",
    }[where]
    address, line, host = {
        "gateway": (gateway_of(target), "/open", "shop.example"),
        "inbound": (target.proxy_of("client"), "http://shop/health", "shop"),
    }[where]

    def ask(token: str) -> int:
        return say(address, f"GET {line} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {token}")[0]

    def noted() -> int:
        found = target.items("requests?failed=true&limit=500")
        return sum("jwt_authn" in one.get("details", "") for one in found)

    with target.applied(TOKENS.replace("TARGET", chosen)):
        before = noted()
        assert {name: ask(token) for name, token in WRONG.items() if ask(token) not in {400, 401}} == {}
        assert ask(GOOD.token()) == 200
        until("they are on record", lambda: noted() > before)
