"""Explanations through the admin API: what becomes of a request that is described, and why."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.history.record import Record
from weft.admin.proxies import every_status
from weft.admin.replies import Refused, instant, json_body, reply
from weft.admin.routing import Route
from weft.admin.status import Status
from weft.discovery.status import ProxyStatus
from weft.explain.answer import Change, Explanation
from weft.explain.connected import ConnectionQuestion, explain_connection
from weft.explain.connections import Connection
from weft.explain.explanation import explain
from weft.explain.facts import Facts, ProxyFacts, Question
from weft.explain.matching import Request
from weft.explain.neighbours import told_neighbours
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.services.service import BackendKey
from weft.mesh.view import build_view
from weft.model.addresses import is_ip_address, is_loopback
from weft.model.labels import selects
from weft.model.origin import Origin
from weft.model.workload import SocketAddress, Workload
from weft.schema.hosts import clean_host
from weft.schema.wording import nearest_name
from weft.store.protocol import StoreError
from weft.traffic.edges import Asked, UnknownTrafficError
from weft.xds.nodes.local import led_inside
from weft.xds.nodes.names import carried_name
from weft.xds.snapshot import ENDPOINTS

_REVISIONS = 200
_WORKED_SECONDS = 3600.0
_STEP = 10
_LOOKUP_SECONDS = 2.0
_SCHEMES = ("http", "https")
_CONNECTIONS = ("tcp", "tls")
_LONGEST = 8192
_MOST_HEADERS = 100


@dataclass(frozen=True, slots=True)
class Described:
    """The body of ``POST /v1/explain``. `from_` is a workload (``NAME``, ``NAMESPACE/NAME``) or a service whose
    workloads call; empty: any workload of `namespace`. The request is `url`, or `path` of the service `to`; ``tcp`` and
    ``tls`` instead of ``http`` mean a connection."""

    url: str = ""
    to: str = ""
    path: str = "/"
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    namespace: str = "default"
    caller: str = ""


class Explain:
    """The handler of ``/v1/explain``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._status = Status(context)

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        text = "What becomes of a request, and why: by the mesh in force"
        body = "from, url (or to and path), method, headers, namespace"
        return (Route("POST", "/v1/explain", self.explain, text, body=body),)

    async def explain(self, request: web.Request) -> web.Response:
        """``POST /v1/explain``."""
        given = await json_body(request, dict[str, object])
        described = _described(given)
        mesh = self._context.compiled.value.mesh
        if mesh is None:
            raise Refused(503, "not-built", "no mesh is in force yet; see weft problems")
        return reply(await self._answer(mesh, described))

    async def _answer(self, mesh: Mesh, described: Described) -> Explanation:
        caller, anybody = _caller(mesh, described)
        if described.url.partition("://")[0].lower() in _CONNECTIONS and "://" in described.url:
            return await self._connection(mesh, caller, _connection(caller, described), anybody=anybody)
        asked = _request(caller, described)
        facts = await self.facts(mesh, asked.host, caller.namespace)

        def work() -> Explanation:
            return explain(facts, Question(caller, build_view(mesh, caller, Memo()), asked, anybody))

        found = self._neighbours(await asyncio.to_thread(work), caller)
        frontend = mesh.catalog.called(asked.host, caller.namespace)
        if anybody or frontend is None:
            return found
        worked = await self.worked(f"{caller.namespace}/{caller.name}", f"{frontend.namespace}/{frontend.name}")
        return replace(found, worked_until=worked)

    def _neighbours(self, found: Explanation, caller: Workload) -> Explanation:
        """The explanation, with what the proxy says that the caller shares with others."""
        snapshot = self._context.hub.entitled_to(caller.carrier) if caller.carrier else None
        hop = next((each for each in found.hops if each.side == "outbound"), None)
        if snapshot is None or hop is None:
            return found
        members = snapshot.get(ENDPOINTS, carried_name(caller.proxy).prefix + hop.cluster)
        return told_neighbours(found, led_inside(members)) if members is not None else found

    async def _connection(self, mesh: Mesh, caller: Workload, connection: Connection, *, anybody: bool) -> Explanation:
        facts = await self.facts(mesh, connection.host, caller.namespace)

        def work() -> Explanation:
            view = build_view(mesh, caller, Memo())
            return explain_connection(facts, ConnectionQuestion(caller, view, connection, anybody))

        return await asyncio.to_thread(work)

    async def facts(self, mesh: Mesh, host: str = "", namespace: str = "default") -> Facts:
        """What is known now, with a look whether DNS has the name that `host` leads to, if it leads outside."""
        context = self._context
        return Facts(
            mesh=mesh,
            now=context.clock(),
            documents={document.key: document for document in context.collector.snapshot.documents},
            problems=self._status.found(0.0),
            proxies={one.name: _proxy_facts(one) for one in await every_status(context)},
            unresolved=await _unresolved(_outside_names(mesh, host, namespace)),
            changes=tuple(change for record in await self._records() for change in _changes(record)),
        )

    async def worked(self, source: str, destination: str) -> str:
        """When calls of a workload to a service last succeeded; empty if that is not known."""
        try:
            points = await self._context.traffic.series(_WORKED_SECONDS, _STEP, Asked(source, destination))
        except UnknownTrafficError:
            return ""
        good = [point.time for point in points if point.requests > point.failures]
        return instant(good[-1]) if good else ""

    async def _records(self) -> tuple[Record, ...]:
        """The latest revisions; none if the store is away, which is no reason not to explain."""
        try:
            return (await self._context.history.shelf.records())[:_REVISIONS]
        except StoreError:
            return ()


def _changes(record: Record) -> Iterator[Change]:
    for one in record.objects:
        place = str(Origin(one.source, one.line))
        yield Change(record.revision, instant(record.time), record.who, one.change, str(one.key), place)


def _described(given: dict[str, object]) -> Described:
    headers = given.get("headers") or {}
    texts = {name: given.get(name) for name in ("url", "to", "path", "method", "namespace", "from")}
    found = {name: value for name, value in texts.items() if value}
    known = isinstance(headers, dict) and all(isinstance(value, str) for value in headers.values())
    if not known or not all(isinstance(value, str) and len(value) <= _LONGEST for value in found.values()):
        raise Refused(400, "bad-body", f"expected texts of at most {_LONGEST} characters, and headers as an object")
    if len(headers) > _MOST_HEADERS:  # type: ignore[arg-type]
        raise Refused(400, "bad-body", f"expected at most {_MOST_HEADERS} headers")
    caller = str(found.pop("from", ""))
    lower = {str(name).lower(): str(value) for name, value in headers.items()}  # type: ignore[attr-defined]
    described = Described(caller=caller, headers=lower, **{name: str(value) for name, value in found.items()})
    if not described.url and not described.to:
        raise Refused(400, "bad-body", "say where the request goes: url, or to with path")
    return described


def _caller(mesh: Mesh, described: Described) -> tuple[Workload, bool]:
    """The workload that calls, and whether it stands for any of its namespace."""
    text = described.caller
    if not text:
        anybody = SocketAddress("127.0.0.1", 15001)
        return Workload("anybody", described.namespace, "default", outbound=anybody), True
    found = find_workload(mesh, text, described.namespace)
    if found is not None:
        return found, False
    known = [one.name for one in mesh.workloads] + [f"{one.namespace}/{one.name}" for one in mesh.workloads]
    near = nearest_name(text, known)
    hint = f"; did you mean '{near}'?" if near else "; see weft get workloads"
    raise Refused(404, "unknown-workload", f"no workload '{text[:120]}' is registered{hint}")


def find_workload(mesh: Mesh, text: str, namespace: str) -> Workload | None:
    """The workload called ``NAME`` (in `namespace`, or in the only one that has it), ``NAMESPACE/NAME`` or
    ``NAME.NAMESPACE``, or the first one behind the service of that name."""
    named = [
        one
        for one in mesh.workloads
        if text in (one.name, f"{one.namespace}/{one.name}", f"{one.name}.{one.namespace}")
    ]
    named.sort(key=lambda one: one.namespace != namespace)
    if named:
        return named[0]
    frontend = mesh.catalog.find(text.partition("/")[2] or text, text.partition("/")[0] if "/" in text else namespace)
    if frontend is None:
        return None
    behind = (one for one in mesh.workloads if one.namespace == frontend.namespace)
    return next((one for one in behind if selects(frontend.selector, one.labels)), None)


def _request(caller: Workload, described: Described) -> Request:
    """The request as the caller's proxy sees it."""
    text = described.url
    if described.to and (not text or text.startswith("/")):
        text = f"http://{described.to}{text or described.path}"
    elif text.startswith("/"):
        raise Refused(400, "bad-url", f"'{text[:80]}' has no host: give a whole URL, or the service with --to")
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise Refused(400, "bad-url", f"'{text[:80]}': {error}") from error
    host = parts.hostname or ""
    if parts.scheme not in _SCHEMES or not host:
        raise Refused(400, "bad-url", f"'{text[:80]}': expected http://HOST[:PORT]/PATH")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    listener = _listener(caller, port or (443 if parts.scheme == "https" else 80))
    upstream = next((one for one in caller.upstreams if one.listen.port == port and is_loopback(host)), None)
    if upstream is not None:  # a loopback port of the application's, which leads to a service
        host, port = upstream.service, upstream.port
    headers = {"host": host, **described.headers}
    return Request(
        host=clean_host(headers.pop("host")).partition(":")[0] or host,
        path=path,
        method=described.method.upper(),
        scheme=parts.scheme,
        port=port or 0,
        headers=headers,
        listener=listener,
        server_name=host if parts.scheme == "https" else "",
    )


def _connection(caller: Workload, described: Described) -> Connection:
    """The connection as the caller's proxy sees it. TLS asks for the host, or for what a header `host` says."""
    text = described.url
    try:
        parts = urlsplit(text)
        port, tls = parts.port or (443 if parts.scheme == "tls" else 0), parts.scheme == "tls"
    except ValueError as error:
        raise Refused(400, "bad-url", f"'{text[:80]}': {error}") from error
    host = parts.hostname or ""
    if not host or not port or parts.path.strip("/") or parts.query or described.to:
        raise Refused(400, "bad-url", f"'{text[:80]}': expected tcp://HOST:PORT, or tls://HOST[:PORT]")
    named = described.headers.get("host", "" if is_ip_address(host) else host) if tls else ""
    if caller.gateway is not None:
        return Connection(_listener(caller, port), host, named, tls, host if is_ip_address(host) else "")
    upstream = next((one for one in caller.upstreams if one.listen.port == port and is_loopback(host)), None)
    if upstream is not None:
        named = "" if named == host else named
        host, port = upstream.service, upstream.port
    return Connection(port, host, named, tls)


def _listener(caller: Workload, port: int) -> int:
    """The Gateway's port: the one whose address has `port`, else `port` itself."""
    if caller.gateway is None:
        return port
    return next((number for number, where in caller.gateway.ports if where.port == port), port)


def _proxy_facts(status: ProxyStatus) -> ProxyFacts:
    nack = status.last_nack if any(kind.rejected for kind in status.types) else None
    if nack is None:
        return ProxyFacts(status.certificate_expires, stuck=status.stuck)
    source = str(nack.origins[0]) if nack.origins else ""
    return ProxyFacts(status.certificate_expires, f"{nack.type} {nack.resource}: {nack.message}", source, status.stuck)


def _outside_names(mesh: Mesh, host: str, namespace: str) -> tuple[str, ...]:
    """The names that proxies would ask DNS for."""
    frontend = mesh.catalog.called(host, namespace) if host else None
    if frontend is not None:
        keys = [BackendKey(frontend.host, port.number) for port in frontend.ports]
        targets = [found for key in keys if (found := mesh.targets.by_key.get(key)) is not None]
        names = [name for target in targets for name in target.backend.dns_names()]
        names += [clean_host(host)] if frontend.by_caller else []
        names = [name for name in names if not is_ip_address(name)]
    else:
        names = [clean_host(host)] if mesh.settings.outbound_policy == "ALLOW_ANY" else []
    return tuple(dict.fromkeys(name for name in names if name))


async def _unresolved(names: tuple[str, ...]) -> frozenset[str]:
    loop = asyncio.get_running_loop()
    missing = set()
    for name in names:
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except TimeoutError:  # before OSError, which it is one of: nobody has said that there is no such name
            continue
        except (OSError, UnicodeError):
            missing.add(name)
    return frozenset(missing)
