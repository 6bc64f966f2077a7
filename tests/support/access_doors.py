"""Doors before one application, each with its own Access, and who knocks; policies in a few words."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.certificates import TestAuthority, client_context
from support.envoy import RunningEnvoy, free_port
from support.loopback import Connection, EchoServer, Response, echo_server, greeting_server
from support.proxy import running_view
from support.views import ORIGIN, TRUST_DOMAIN, inbound, outbound, sidecar
from weft.mesh.access.access import Access
from weft.mesh.access.policy import (
    AccessPolicy,
    AccessRule,
    Action,
    Attribute,
    Closed,
    Condition,
    Pattern,
    PatternKind,
)
from weft.mesh.signals import STANDARD, Signals
from weft.model.document import ObjectKey

GROUP = "security.istio.io"
EXACT, PREFIX, SUFFIX, PRESENT = PatternKind.EXACT, PatternKind.PREFIX, PatternKind.SUFFIX, PatternKind.PRESENT


def condition(attribute: Attribute, *texts: str, negated: bool = False, key: tuple[str, ...] = ()) -> Condition:
    """A condition in Istio's spelling of patterns."""
    return Condition(attribute, tuple(map(pattern, texts)), negated, key)


def pattern(text: str) -> Pattern:
    """`*`, `beginning*`, `*end`, a template, or a text."""
    if "{" in text:
        return Pattern(PatternKind.TEMPLATE, text)
    if text == "*":
        return Pattern(PRESENT)
    if text.endswith("*"):
        return Pattern(PREFIX, text[:-1])
    return Pattern(SUFFIX, text[1:]) if text.startswith("*") else Pattern(EXACT, text)


def rule(*operation: Condition, source: tuple[Condition, ...] = (), when: tuple[Condition, ...] = ()) -> AccessRule:
    """A rule with one operation and one source."""
    return AccessRule(0, ORIGIN, (source,) if source else (), (operation,) if operation else (), when)


def policy(action: Action, *rules: AccessRule, name: str = "p", **more: Any) -> AccessPolicy:
    """A policy of these rules."""
    return AccessPolicy(ObjectKey(GROUP, "AuthorizationPolicy", "default", name), ORIGIN, action, rules, **more)


def access(*policies: AccessPolicy, closed: tuple[Closed, ...] = ()) -> Access:
    """What is asked at port 9080."""
    return Access(policies, closed, 9080, TRUST_DOMAIN)


@dataclass(frozen=True)
class Doors:
    """Ports before one application, each with its own Access, and callers with identities."""

    envoy: RunningEnvoy
    ports: Mapping[str, int]
    application: EchoServer
    authority: TestAuthority
    directory: Path

    def context(self, uri: str, alpn: str = "http/1.1") -> ssl.SSLContext:
        """What a caller with this identity opens connections with."""
        return client_context(self.authority, self.authority.issue(uri=uri), self.directory, alpn=(alpn,))

    async def ask(
        self,
        target: str = "/",
        *headers: str,
        at: str = "",
        uri: str = "",
        plain: bool = False,
        host: str = "reviews",
        method: str = "GET",
    ) -> Response:
        """One request; `at` the first door if it is not said."""
        context = None if plain else self.context(uri or f"spiffe://{TRUST_DOMAIN}/ns/default/sa/productpage")
        async with Connection(self.ports[at or next(iter(self.ports))], context) as client:
            return await client.request(target, host, *headers, method=method)

    async def status(self, target: str = "/", *headers: str, **more: Any) -> int:
        """Its status."""
        return (await self.ask(target, *headers, **more)).status

    async def bytes_back(self, at: str, uri: str = "", sent: bytes = b"x") -> bytes:
        """What comes back over a connection; nothing if it is closed."""
        uri = uri or f"spiffe://{TRUST_DOMAIN}/ns/default/sa/productpage"
        with contextlib.suppress(OSError, ssl.SSLError):
            async with Connection(self.ports[at], self.context(uri, "weft-tcp")) as client:
                client.writer.write(sent)
                return await asyncio.wait_for(client.reader.read(100), 10)
        return b""


@contextlib.asynccontextmanager
async def doors(
    directory: Path, asked: Mapping[str, Access], greeting: bytes = b"", incoming: Signals = STANDARD, **port: Any
) -> AsyncIterator[Doors]:
    """One Envoy with a door for each Access, before an application that answers requests, or one with a `greeting`."""
    ports = {name: free_port() for name in asked}
    async with echo_server("reviews") as application, greeting_server(greeting) as greeter:
        behind = greeter if greeting else application.port
        given = [
            inbound(ports[name], behind, port=9000 + index, access=each, **port)
            for index, (name, each) in enumerate(asked.items())
        ]
        view = sidecar(outbound(), inbound=tuple(given), proxy_listen=None, incoming=incoming)
        async with running_view(view, directory) as (envoy, authority):
            yield Doors(envoy, ports, application, authority, directory)
