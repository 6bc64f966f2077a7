"""Facts of Envoy: TLS with servers outside the mesh, as clusters ask for it. One gateway calls them all."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from support.certificates import TestAuthority
from support.envoy import free_port
from support.loopback import Connection, Response
from support.proxy import running_view
from support.tls_server import TlsServer, tls_server
from support.views import ORIGIN, backend, endpoint, gateway, gateway_port, prefix, rule, target, targets, virtual_host
from weft.mesh.routes.rules import Forward, WeightedBackend
from weft.mesh.services.service import BackendKey, CertificateName, NameKind, Target, Tls
from weft.mesh.views import Certificate, Credential

HOST = "api.example.test"
DNS, URI = NameKind.DNS, NameKind.URI
PLAIN, MUTUAL, OTHER = "plain", "mutual", "other"

REFUSED: dict[str, str] = {}
HTTP1 = {"sni": HOST, "alpn": "http/1.1", "client": "", "host": HOST}


class Case(NamedTuple):
    """TLS towards a server, and what it sees (REFUSED: there is no connection). Of `authorities` and `crl` the test
    knows the content; a `crl` takes the server's certificate back, or nothing."""

    server: str
    tls: Tls
    seen: Mapping[str, str] = HTTP1


CASES = {
    "secret": Case(PLAIN, Tls(credential="outside")),
    "system": Case(OTHER, Tls()),
    "not-the-systems": Case(PLAIN, Tls(), REFUSED),
    "authorities": Case(PLAIN, Tls(authorities=b"public")),
    "not-of-these": Case(OTHER, Tls(authorities=b"public"), REFUSED),
    "sni": Case(PLAIN, Tls(sni="else.example.test", credential="outside"), HTTP1 | {"sni": "else.example.test"}),
    "names": Case(PLAIN, Tls(names=(CertificateName(DNS, HOST),), credential="outside")),
    "uri": Case(PLAIN, Tls(names=(CertificateName(URI, "spiffe://else/api"),), credential="outside")),
    "wrong-name": Case(PLAIN, Tls(names=(CertificateName(DNS, "w.example.test"),), credential="outside"), REFUSED),
    "insecure": Case(OTHER, Tls(insecure=True)),
    "mutual": Case(MUTUAL, Tls(credential="outside", proves=True), HTTP1 | {"client": "client.example.test"}),
    "mutual-without": Case(MUTUAL, Tls(credential="outside"), REFUSED),
    "gateways-own": Case(
        MUTUAL, Tls(authorities=b"public", shown="default/client"), HTTP1 | {"client": "client.example.test"}
    ),
    "crl": Case(PLAIN, Tls(authorities=b"public", crl=b"nobody")),
    "taken-back": Case(PLAIN, Tls(authorities=b"public", crl=b"server"), REFUSED),
}


@dataclass
class Outside:
    """The gateway's port and the servers."""

    port: int
    servers: dict[str, TlsServer]

    async def ask(self, case: str, host: str = HOST) -> Response:
        """A request through the cluster of a case."""
        async with Connection(self.port) as client:
            return await client.request(f"/{case}", host)


def _target(case: str, tls: Tls, port: int) -> Target:
    key = BackendKey(f"{case}.default.svc.cluster.local", 443)
    found = backend(key, transport=replace(tls, host=HOST))
    return target(endpoint(port, mutual_tls=False), to=found)


@contextlib.asynccontextmanager
async def running_outside(directory: Path) -> AsyncIterator[Outside]:
    public, own = TestAuthority(), TestAuthority()
    leaf = public.issue(dns=(HOST,), uri="spiffe://else/api")
    client = public.issue(dns=("client.example.test",))
    lists = {b"": b"", b"nobody": public.crl(), b"server": public.crl(leaf)}
    credential = Credential("outside", client.chain, client.key, public.bundle, b"", ORIGIN)
    async with (
        tls_server(leaf, alpn=("http/1.1",)) as plain,
        tls_server(leaf, public.bundle) as mutual,
        tls_server(own.issue(dns=(HOST,))) as other,
    ):
        servers = {PLAIN: plain, MUTUAL: mutual, OTHER: other}
        found, rules = [], []
        for case, (server, given, _) in CASES.items():
            roots = public.bundle if given.authorities else b""
            tls = replace(given, authorities=roots, crl=lists[given.crl])
            found.append(_target(case, tls, servers[server].port))
            key = found[-1].backend.key
            rules.append(rule(Forward((WeightedBackend(key),)), prefix(f"/{case}")))
        port = free_port()
        view = gateway(
            gateway_port(port, (virtual_host(rules, name="all", domains=("*",), port=0),)),
            targets=targets(*found),
            credentials=(credential,),
            certificates=(Certificate("default/client", client.chain, client.key, ORIGIN),),
        )
        async with running_view(view, directory, own):
            yield Outside(port, servers)


async def test_what_servers_see_and_who_is_refused(tmp_path: Path) -> None:
    async with running_outside(tmp_path) as outside:
        for case, (_, _, seen) in CASES.items():
            answer = await outside.ask(case)
            found = answer.json() if answer.status == 200 else REFUSED
            assert (case, answer.status, found.items() >= seen.items()) == (case, 200 if seen else 503, True), found


async def test_the_host_of_a_request_is_asked_for_and_has_to_be_proved(tmp_path: Path) -> None:
    async with running_outside(tmp_path) as outside:
        assert (await outside.ask("secret", f"{HOST}:8443")).json()["sni"] == HOST
        assert (await outside.ask("secret", "else.example.test")).status == 503
        assert outside.servers[PLAIN].names[-1] == "else.example.test"
        answer = await outside.ask("sni", "else.example.test")
        assert answer.json()["host"] == "else.example.test"
