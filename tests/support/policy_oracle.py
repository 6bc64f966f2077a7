"""The policy oracle: random policies and requests, judged by a real Envoy, by weft's own verdict, and by the documents
as they are read: ``./run oracle --pairs 100000``.

One Envoy runs with weft's own inbound listener. Documents are compiled as always; each set of policies becomes a route
of its own, with the filters that the real encoder gives it. Every batch replaces the one before under the same names,
so policies are changed and removed all the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.certificates import TestAuthority, client_context, write_workload_directory
from support.envoy import RunningEnvoy, free_port, running_envoy
from support.loopback import Connection, Response
from support.policy_documents import (
    ADDRESSES,
    CALLERS,
    PORT,
    PROVIDER,
    SERVER_NAMES,
    TRUST_DOMAIN,
    Json,
    Maker,
    Sent,
    reading,
)
from support.policy_envoy import CASE, DETAILS, oracle_bootstrap, token, write_routes
from support.proxy import SUBJECT
from support.views import identity
from weft.mesh.access.access import Access
from weft.mesh.access.call import Call, HttpCall
from weft.mesh.access.policy import AccessPolicy, Closed
from weft.mesh.access.verdict import Verdict, verdict_on
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.view import build_view
from weft.mesh.views import SidecarView
from weft.model.identity import SpiffeId
from weft.model.snapshot import ConfigSnapshot, MeshSettings, workload_order
from weft.model.workload import SocketAddress, Workload, WorkloadPort
from weft.schema.decode import decode_documents
from weft.xds.access.rules import BAD_HOST, BAD_PATH

_IN_A_SET = 40
"""Requests for each set of policies."""
_SETS = 60
"""Sets of policies in one batch."""
_SECONDS = 30


@dataclass(frozen=True)
class Disagreement:
    """A request on which not all three agree."""

    documents: Sequence[Json]
    sent: Sent
    envoy: str
    verdict: str
    reading: str

    def __str__(self) -> str:
        texts = "\n---\n".join(json.dumps(one, ensure_ascii=False) for one in self.documents)
        return f"{texts}\n{self.sent}\nEnvoy: {self.envoy}; verdict: {self.verdict}; reading: {self.reading}"


@dataclass
class Outcome:
    """How many pairs were compared, how many of them were allowed, and asked about, and the disagreements."""

    pairs: int = 0
    allowed: int = 0
    asked: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """A set of policies: its documents, and what they compile to."""

    name: str
    documents: Sequence[Json]
    access: Access


def compile_cases(sets: dict[str, Sequence[Json]], provider: int = 1) -> list[Case]:
    """Each set of documents in a namespace of its own, compiled as one mesh. PROVIDER is at port `provider`."""
    workloads = [
        Workload(
            "app",
            name,
            "app",
            ports=(WorkloadPort(PORT, SocketAddress("127.0.0.1", 1), SocketAddress("127.0.0.1", 2)),),
        )
        for name in sets
    ]
    text = "\n---\n".join(json.dumps(one) for documents in ([_asking(provider)], *sets.values()) for one in documents)
    decoded = decode_documents(text, "oracle.yaml")
    assert not decoded.failed, "\n".join(map(str, decoded.problems[:5]))
    documents = tuple(sorted(decoded.documents, key=lambda one: one.key))
    settings = MeshSettings(trust_domain=TRUST_DOMAIN)
    memo = Memo()
    mesh = build_mesh(ConfigSnapshot(1, documents, tuple(sorted(workloads, key=workload_order)), (), settings), memo)
    cases = []
    for workload in workloads:
        view = build_view(mesh, workload, memo)
        assert isinstance(view, SidecarView)
        cases.append(Case(workload.namespace, sets[workload.namespace], view.inbound[0].access))
    return cases


def _asking(provider: int) -> Json:
    servers = [{"name": PROVIDER, "envoyExtAuthzHttp": {"service": "127.0.0.1", "port": provider}}]
    metadata = {"name": "default", "namespace": "istio-system"}
    spec = {"extensionProviders": servers}
    return {"apiVersion": "weft.dev/v1alpha1", "kind": "MeshConfig", "metadata": metadata, "spec": spec}


class Oracle:
    """A running Envoy that judges, and its connections."""

    def __init__(
        self, envoy: RunningEnvoy, port: int, authority: TestAuthority, directory: Path, provider: int
    ) -> None:
        self._envoy = envoy
        self._port = port
        self.provider = provider
        self._directory = directory
        self._generation = 0
        self._contexts: dict[str, ssl.SSLContext | None] = {"": None}
        for caller in filter(None, CALLERS):
            namespace, _, account = caller.partition("/")
            leaf = authority.issue(uri=str(SpiffeId(TRUST_DOMAIN, namespace, account)))
            self._contexts[caller] = client_context(authority, leaf, directory)

    async def judge(self, cases: Sequence[Case], maker: Maker, outcome: Outcome) -> None:
        """Replace the policies by these, send requests by every connection, and compare."""
        await self._replace(cases)
        each = max(1, _IN_A_SET // (len(CALLERS) * len(ADDRESSES)))
        given = []
        for caller in CALLERS:
            for address in ADDRESSES:
                name = maker.one(SERVER_NAMES)
                sent = [(case, maker.sent(caller, address, name)) for case in cases for _ in range(each)]
                given.append((caller, address, name, sent))
        found = await asyncio.gather(*(self._ask(*one) for one in given))
        for (_, _, _, sent), answers in zip(given, found, strict=True):
            for (case, one), answer in zip(sent, answers, strict=True):
                compare(case, one, answer, outcome)

    async def asked(self, cases: Sequence[Case], sent: Sequence[tuple[Case, Sent]]) -> list[Response]:
        """The answers to these requests, which one caller sends."""
        await self._replace(cases)
        first = sent[0][1]
        return await self._ask(first.caller, first.address, first.server_name, sent)

    async def _replace(self, cases: Sequence[Case]) -> None:
        self._generation += 1
        write_routes(self._directory, {case.name: case.access for case in cases}, self._generation)
        await self._taken()

    async def _taken(self) -> None:
        deadline = time.monotonic() + _SECONDS
        while True:
            async with Connection(self._port) as client:
                answer = await client.request("/", "probe", f"{CASE}: generation-{self._generation}")
            if answer.status == 200:
                return
            assert time.monotonic() < deadline, self._envoy.log[-3000:]
            await asyncio.sleep(0.02)

    async def _ask(self, caller: str, address: str, name: str, sent: Sequence[tuple[Case, Sent]]) -> list[Response]:
        """The answers, in order. Envoy closes a connection on some requests; the rest goes over another one."""
        answers: list[Response] = []
        while len(answers) < len(sent):
            async with _connection(self._port, self._contexts[caller], address, name) as client:
                for case, one in sent[len(answers) :]:
                    answers.append(await client.ask(_wire(case, one)))
                    if answers[-1].headers.get("connection") == "close":
                        break
        return answers


class _Client(Connection):
    async def ask(self, request: bytes) -> Response:
        self.writer.write(request)
        return await asyncio.wait_for(self._response("GET"), _SECONDS)


@contextlib.asynccontextmanager
async def _connection(port: int, context: ssl.SSLContext | None, address: str, name: str) -> AsyncIterator[_Client]:
    client = _Client(port)
    client.reader, client.writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=name if context else None, local_addr=(address, 0)
    )
    try:
        yield client
    finally:
        client.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await client.writer.wait_closed()


def _wire(case: Case, sent: Sent) -> bytes:
    lines = [f"{sent.method} {sent.target} HTTP/1.1", f"Host: {sent.host}", f"{CASE}: {case.name}", "Content-Length: 0"]
    lines += [f"{name}: {value}" for name, value in sent.headers]
    lines += [f"x-forwarded-for: {sent.client}"] if sent.client else []
    lines += [f"x-token: {token(sent.token)}"] if sent.token else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def compare(case: Case, sent: Sent, answer: Response, outcome: Outcome) -> None:
    """Count one pair, and keep it if not all agree on it."""
    verdict = verdict_on(case.access, call_of(sent))
    read = reading(case.documents, sent)
    outcome.pairs += 1
    outcome.allowed += verdict.allowed and not verdict.asks
    outcome.asked += bool(verdict.asks)
    seen = "allowed" if answer.status == 200 else answer.headers.get(DETAILS, str(answer.status))
    ours = "allowed" if verdict.allowed else _details(verdict)
    allowed = verdict.allowed and not verdict.asks
    if (BAD_HOST in ours or BAD_PATH in ours) and answer.status in (400, 403):
        seen = ours  # a proxy names any of the rules that such a host meets, or asks, or does not take it at all
    elif verdict.asks:
        ours = "ext_authz_denied"  # before all others
    if seen != ours or read is not allowed:
        documents, sent = smallest(case, sent)
        told = f"{ours} ({verdict.reason})"
        outcome.disagreements.append(Disagreement(documents, sent, seen, told, "allowed" if read else "denied"))


def call_of(sent: Sent) -> Call:
    """A request as policies see it."""
    headers = {name: sent.header(name) for name in dict(sent.headers)}
    return Call(
        principal=sent.principal,
        http=HttpCall(sent.method, sent.named_host, sent.path, headers, sent.claims),
        source_ip=sent.address,
        remote_ip=sent.client,
        destination_ip="127.0.0.1",
        sni=sent.server_name if sent.caller else "",
    )


def _details(verdict: Verdict) -> str:
    """Envoy's response code details for a refusal."""
    policy = verdict.policy
    if "not well formed" in verdict.reason:
        name = BAD_HOST if "its host" in verdict.reason else BAD_PATH
    elif isinstance(policy, Closed):
        name = policy.rule_id
    elif isinstance(policy, AccessPolicy) and verdict.rule is not None:
        name = policy.rule_id(verdict.rule)
    else:
        name = "none"
    return f"rbac_access_denied_matched_policy[{name}]"


def smallest(case: Case, sent: Sent) -> tuple[Sequence[Json], Sent]:
    """Fewer documents and rules on which verdict and reading still differ; all of them if only Envoy does."""
    documents = [json.loads(json.dumps(one)) for one in case.documents]

    def differs(candidate: Sequence[Json]) -> bool:
        access = compile_cases({case.name: candidate})[0].access
        verdict = verdict_on(access, call_of(sent))
        return (verdict.allowed and not verdict.asks) is not reading(candidate, sent)

    if not differs(documents):
        return case.documents, sent
    for index in reversed(range(len(documents))):
        without = documents[:index] + documents[index + 1 :]
        if differs(without):
            documents = without
    return documents, sent


@contextlib.asynccontextmanager
async def running_oracle(directory: Path) -> AsyncIterator[Oracle]:
    """An Envoy in `directory`, ready to judge."""
    authority, listen = TestAuthority(), free_port()
    write_workload_directory(
        directory, authority.issue(uri=str(identity("reviews")), subject=SUBJECT), authority.bundle
    )
    (directory / "rds").mkdir()
    write_routes(directory, {}, 0)
    async with refusing_server() as provider:
        (asking,) = compile_cases({"asking": [_CUSTOM]}, provider)
        async with running_envoy(oracle_bootstrap(listen, asking.access), directory) as envoy:
            yield Oracle(envoy, listen, authority, directory, provider)


_CUSTOM: Json = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "asks", "namespace": "asking"},
    "spec": {"action": "CUSTOM", "provider": {"name": PROVIDER}, "rules": [{}]},
}


@contextlib.asynccontextmanager
async def refusing_server() -> AsyncIterator[int]:
    """Who refuses every call that it is asked about, and its port."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def consult(pairs: int, seed: int, directory: Path, *, tell: bool = False) -> Outcome:
    """Compare at least so many pairs."""
    maker, outcome, batch = Maker(random.Random(seed), custom=True), Outcome(), 0
    async with running_oracle(directory) as oracle:
        while outcome.pairs < pairs and len(outcome.disagreements) < 20:
            batch += 1
            names = [f"case-{batch % 2}-{number}" for number in range(_SETS)]
            cases = compile_cases({name: maker.documents(name) for name in names}, oracle.provider)
            await oracle.judge(cases, maker, outcome)
            if tell:
                sys.stderr.write(f"\r{outcome.pairs} pairs, {len(outcome.disagreements)} disagreements")
    return outcome
