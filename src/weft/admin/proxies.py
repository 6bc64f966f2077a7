"""Proxies through the admin API: which are connected, what they have confirmed, what they were given."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.replies import Refused, instant, reply
from weft.admin.routing import Route
from weft.discovery.status import ProxyStatus
from weft.model.revisions import REVISION
from weft.model.workload import Workload
from weft.schema.wording import nearest_name
from weft.xds.describe import describe_with_origins
from weft.xds.policies.tls import IDENTITY, IDENTITY_FILE
from weft.xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET, XdsSnapshot

_TYPES = {
    "clusters": CLUSTER,
    "endpoints": ENDPOINTS,
    "listeners": LISTENER,
    "routes": ROUTES,
    "filters": EXTENSION,
    "secrets": SECRET,
}


async def every_status(context: ApiContext) -> tuple[ProxyStatus, ...]:
    """The streams of all replicas that answer, those of this one first."""
    own = context.hub.proxies()
    if not context.replicas.links:
        return own
    return (*own, *(status for _, status in (await context.replicas.statuses())[0]))


class Proxies:
    """Handlers of ``/v1/proxies``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        path = "/v1/proxies/{name}/config/{type}"
        return (
            Route("GET", "/v1/proxies", self.list, "Connected proxies and what they have confirmed"),
            Route(
                "GET",
                path,
                self.config,
                "What a proxy is given: clusters, endpoints, listeners, routes, filters, secrets, all",
            ),
        )

    async def list(self, _request: web.Request) -> web.Response:
        """``GET /v1/proxies``: those of all replicas of the control plane; ``unknown`` are the replicas of whose
        proxies nothing is known."""
        replicas, own = self._context.replicas, self._context.hub.proxies()
        snapshot = self._context.collector.snapshot
        if not replicas.links:
            return reply({"proxies": [_status_json(one, snapshot.workload(one.name)) for one in own]})
        others, unknown = await replicas.statuses()
        found = [*((socket.gethostname(), status) for status in own), *others]
        found.sort(key=lambda row: (row[1].name, row[1].connected))
        rows = [{**_status_json(one, snapshot.workload(one.name)), "replica": name} for name, one in found]
        return reply({"proxies": rows, "unknown": unknown})

    async def config(self, request: web.Request) -> web.Response:
        """``GET /v1/proxies/{name}/config/{type}``."""
        word = request.match_info["type"]
        name = self._name(request.match_info["name"])
        found = await self.given(name, word) or await self._context.replicas.config(name, word)
        if found is None:
            raise Refused(404, "no-configuration", f"{name} was given no configuration yet")
        return reply(found)

    async def given(self, name: str, word: str) -> dict[str, object] | None:
        """What a proxy that is connected here is given of the type `word`; None: it is not connected here."""
        if word != "all" and word not in _TYPES:
            raise Refused(404, "unknown-type", f"{word[:40]!r}: expected {', '.join(_TYPES)} or all")
        snapshot = self._context.hub.given_to(name)
        if snapshot is None:
            return None
        chosen = _TYPES if word == "all" else {word: _TYPES[word]}
        described = {one: await asyncio.to_thread(_described, snapshot, url) for one, url in chosen.items()}
        if "secrets" in described:
            described["secrets"] = [*self._own_certificates(name), *described["secrets"]]
        return {"proxy": name, "revision": snapshot.revision, **described}

    def _own_certificates(self, name: str) -> Iterable[object]:
        """The proxy's own certificate, which its agent gave it: what the control plane saw of it in the hand-shake."""
        for one in [status for status in self._context.hub.proxies() if status.name == name][-1:]:
            end = instant(one.certificate_expires)
            yield {"name": IDENTITY, "identity": one.identity, "expires": end, "file": IDENTITY_FILE}

    def _name(self, text: str) -> str:
        """The full name of a connected proxy, also from a workload's name if that is in one namespace only."""
        names = [*(status.name for status in self._context.hub.proxies()), *self._context.replicas.proxies()]
        if text in names:
            return text
        found = list(dict.fromkeys(name for name in names if name.split(".")[0] == text))
        if len(found) == 1:
            return found[0]
        if found:
            raise Refused(409, "ambiguous-name", f"{text} is in several namespaces: {', '.join(sorted(found))}")
        if carrier := self._carrier(text):
            raise Refused(404, "carried", f"{text[:120]} has no proxy of its own: that of its host is {carrier}")
        near = nearest_name(text, [*names, *(name.split(".")[0] for name in names)])
        hint = f"; did you mean '{near}'?" if near else ""
        raise Refused(404, "not-connected", f"no proxy '{text[:120]}' is connected{hint}")

    def _carrier(self, text: str) -> str:
        """The name of the proxy that carries a workload of this name; empty if none does."""
        workloads = self._context.collector.snapshot.workloads
        return next((each.carrier for each in workloads if text in (each.proxy, each.name) and each.carrier), "")


def _status_json(status: ProxyStatus, workload: Workload | None) -> dict[str, object]:
    """One stream, with its times as people and programs read them, and by which revision a Pod was injected."""
    row: dict[str, object] = {name: getattr(status, name) for name in status.__dataclass_fields__}
    del row["connected"]
    row["connected_since"] = instant(status.connected)
    row["certificate_expires"] = instant(status.certificate_expires)
    row["injected_by"] = dict(workload.labels).get(REVISION, "") if workload is not None and workload.pod else ""
    return row


def _described(snapshot: XdsSnapshot, type_url: str) -> list[object]:
    resources = {name: one for layer in snapshot.layers for name, one in layer.of_type(type_url).items()}
    return [describe_with_origins(resource) for _, resource in sorted(resources.items())]
