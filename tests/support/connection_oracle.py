"""The policy oracle for connections: each set of policies before a TCP port of its own.

Whoever is let in hears what was said again; whoever is not is cut off, in the handshake or after it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import ssl
from collections.abc import Mapping
from pathlib import Path

from support.certificates import TestAuthority, client_context
from support.envoy import free_port
from support.loopback import tcp_server
from support.policy_documents import ADDRESSES, CALLERS, PORT, SERVER_NAMES, TRUST_DOMAIN, Maker, Sent, reading
from support.policy_oracle import Case, Disagreement, Outcome, call_of, compile_cases
from support.proxy import running_view
from support.views import inbound, sidecar
from weft.mesh.access.verdict import verdict_on
from weft.mesh.services.service import MutualTlsMode, Protocol
from weft.mesh.views import InboundPort
from weft.model.identity import SpiffeId
from weft.xds.policies.tls import ALPN_TCP

_SAID = b"more bytes than a TLS record has before its content"
_SECONDS = 20
_AT_ONCE = 16


async def consult_connections(sets: int, seed: int, directory: Path) -> Outcome:
    """Compare every caller, from every address, at so many ports with policies of their own."""
    maker, outcome, authority = Maker(random.Random(seed)), Outcome(), TestAuthority()
    cases = compile_cases({f"case-{number}": maker.documents(f"case-{number}") for number in range(sets)})
    contexts: dict[str, ssl.SSLContext | None] = {"": None}
    for caller in filter(None, CALLERS):
        namespace, _, account = caller.partition("/")
        leaf = authority.issue(uri=str(SpiffeId(TRUST_DOMAIN, namespace, account)))
        contexts[caller] = client_context(authority, leaf, directory, alpn=(ALPN_TCP,))
    async with tcp_server(_echo) as application:
        ports = {case.name: _port(number, application, case) for number, case in enumerate(cases)}
        view = sidecar(inbound=tuple(ports.values()), proxy_listen=None)
        async with running_view(view, directory, authority):
            turns = asyncio.Semaphore(_AT_ONCE)
            for case in cases:
                await asyncio.gather(
                    *(
                        _compare(case, ports, _connection(caller, address, maker), contexts[caller], outcome, turns)
                        for caller in CALLERS
                        for address in ADDRESSES
                    )
                )
    return outcome


def _port(number: int, application: int, case: Case) -> InboundPort:
    """A port of its own number in Envoy; what policies mean by the port is in the Access."""
    port = inbound(free_port(), application, port=PORT + number, protocol=Protocol.TCP, mode=MutualTlsMode.PERMISSIVE)
    return dataclasses.replace(port, access=case.access)


def _connection(caller: str, address: str, maker: Maker) -> Sent:
    return Sent(caller, address, maker.one(SERVER_NAMES), "", "", "")


async def _compare(
    case: Case,
    ports: Mapping[str, InboundPort],
    sent: Sent,
    context: ssl.SSLContext | None,
    outcome: Outcome,
    turns: asyncio.Semaphore,
) -> None:
    async with turns:
        seen = await _let_in(ports[case.name].listen.port, sent, context)
    verdict = verdict_on(case.access, dataclasses.replace(call_of(sent), http=None))
    read = reading(case.documents, sent)
    outcome.pairs += 1
    outcome.allowed += verdict.allowed
    if not seen is verdict.allowed is read:
        told = [("allowed" if one else "denied") for one in (seen, verdict.allowed, read)]
        outcome.disagreements.append(Disagreement(case.documents, sent, told[0], told[1] + verdict.reason, told[2]))


async def _let_in(port: int, sent: Sent, context: ssl.SSLContext | None) -> bool:
    """Whether what is said comes back."""
    writer = None
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                port,
                ssl=context,
                server_hostname=sent.server_name if context else None,
                local_addr=(sent.address, 0),
            )
            writer.write(_SAID)
            return await reader.readexactly(len(_SAID)) == _SAID
    except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1024):
        writer.write(data)
