"""VirtualService: where a rule sends requests, with weights, rewrites, retries and mirrors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weft.mesh.routes.kind import Referent, SubsetUse
from weft.mesh.routes.rules import (
    Forward,
    HeaderChanges,
    Mirror,
    PathRewrite,
    RequestMatch,
    Respond,
    Retry,
    WeightedBackend,
)
from weft.mesh.services.references import unknown_host, unknown_port
from weft.mesh.services.service import BackendKey, Frontend, Protocol
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.kinds import virtualservice as api
from weft.schema.rules.headers import HOST_HEADERS

ISTIO_RETRY_ON = ("connect-failure", "refused-stream", "unavailable", "cancelled")
"""Istio's default since 1.24: a 503 may have been made by an application that has done the work."""
_EFFECT = "; requests sent there get 503"


@dataclass(frozen=True, slots=True)
class Destinations:
    """The destinations of one document on one port (0: on any), by host as written; what is wrong is added to
    `problems`, with what becomes of what is sent there (`effect`), the subsets sent to to `subsets`."""

    document: Document[api.VirtualServiceSpec]
    port: int
    referents: Mapping[str, Referent]
    problems: list[Problem]
    subsets: list[SubsetUse]
    effect: str = _EFFECT

    def find(self, destination: api.Destination, path: FieldPath) -> BackendKey | None:
        """The destination, or None with a problem that says why there is none."""
        frontend, _, nearest = self.referents[destination.host]
        if frontend is None:
            self.problems.append(unknown_host(self.document, (*path, "host"), destination.host, nearest, self.effect))
            return None
        if destination.subset:
            self.subsets.append(SubsetUse(frontend.host, destination.subset, (*path, "subset")))
        port = self._port(destination, frontend)
        if port is None:
            asked = destination.port.number if destination.port else self.port
            where = (*path, "port", "number") if destination.port else (*path, "port")
            self.problems.append(unknown_port(self.document, where, frontend, asked, self.effect))
            return None
        return BackendKey(frontend.host, port, destination.subset)

    def speaks_websocket(self, destination: api.Destination) -> bool:
        """Whether the destination exists and its port carries WebSocket."""
        frontend, _, _ = self.referents[destination.host]
        number = self._port(destination, frontend) if frontend else None
        port = frontend.port(number) if frontend and number else None
        return port is not None and port.protocol is Protocol.WEBSOCKET

    def _port(self, destination: api.Destination, frontend: Frontend) -> int | None:
        if destination.port is not None:
            return destination.port.number if frontend.port(destination.port.number) else None
        if len(frontend.ports) == 1 or (not self.port and frontend.ports):
            return frontend.ports[0].number
        return self.port if frontend.port(self.port) else None


def header_changes(operations: api.HeaderOperations) -> HeaderChanges:
    """Header operations in mesh words, names in lower case."""
    return HeaderChanges(
        set=tuple((name.lower(), value) for name, value in sorted(operations.set.items())),
        add=tuple((name.lower(), value) for name, value in sorted(operations.add.items())),
        remove=tuple(name.lower() for name in operations.remove),
    )


def split_host(changes: HeaderChanges) -> tuple[str, HeaderChanges]:
    """The host that the changes set (empty if none) and the changes without it."""
    host = next((value for name, value in changes.set if name in HOST_HEADERS), "")
    rest = HeaderChanges(
        tuple(item for item in changes.set if item[0] not in HOST_HEADERS),
        tuple(item for item in changes.add if item[0] not in HOST_HEADERS),
        tuple(name for name in changes.remove if name not in HOST_HEADERS),
    )
    return host, rest


def build_forward(
    destinations: Destinations, path: FieldPath, http: api.HttpRoute, match: RequestMatch
) -> Forward | Respond:
    """Where the rule at `path` sends requests. A destination that does not exist answers 503 for its share."""
    reached = [
        destinations.find(item.destination, (*path, "route", place, "destination"))
        for place, item in enumerate(http.route)
    ]
    mirrors = _mirrors(destinations, path, http)
    if not any(reached):
        return Respond(503)
    alone = len(http.route) == 1
    backends = tuple(_backend(item, found, alone) for item, found in zip(http.route, reached, strict=True))
    rewrite = http.rewrite or api.HttpRewrite()
    host, _ = split_host(header_changes(http.headers.request))
    return Forward(
        backends=backends,
        timeout=http.timeout,
        retry=build_retry(http.retries),
        host_rewrite=rewrite.authority or host,
        path_rewrite=_path_rewrite(rewrite, match),
        mirrors=mirrors,
        missing_status=503,
        websocket=any(destinations.speaks_websocket(item.destination) for item in http.route),
    )


def _backend(item: api.HttpRouteDestination, found: BackendKey | None, alone: bool) -> WeightedBackend:
    host, request = split_host(header_changes(item.headers.request))
    return WeightedBackend(
        backend=found,
        weight=1 if alone else item.weight,
        request=request,
        response=header_changes(item.headers.response),
        host_rewrite=host,
    )


def _path_rewrite(rewrite: api.HttpRewrite, match: RequestMatch) -> PathRewrite | None:
    if rewrite.uri_regex_rewrite is not None:
        return PathRewrite("regex", rewrite.uri_regex_rewrite.rewrite, rewrite.uri_regex_rewrite.match)
    if not rewrite.uri:
        return None
    whole = match.path is not None and match.path.kind in ("exact", "regex")
    return PathRewrite("full" if whole else "prefix", rewrite.uri)


def build_retry(retries: api.HttpRetry | None) -> Retry | None:
    """Istio's retries in mesh words. Without attempts nothing of them is in force."""
    if retries is None:
        return None
    if not retries.attempts:
        return Retry(0)
    words = tuple(word for item in retries.retry_on.split(",") if (word := item.strip())) or ISTIO_RETRY_ON
    return Retry(
        attempts=retries.attempts,
        conditions=tuple(word for word in words if not word.isdigit()),
        codes=tuple(int(word) for word in words if word.isdigit()),
        per_try_timeout=retries.per_try_timeout,
        backoff=retries.backoff,
        other_host=retries.retry_ignore_previous_hosts,
        other_locality=retries.retry_remote_localities,
    )


def _mirrors(destinations: Destinations, path: FieldPath, http: api.HttpRoute) -> tuple[Mirror, ...]:
    wanted: list[tuple[api.Destination, float, FieldPath]] = []
    if http.mirror is not None:
        share = http.mirror_percentage.value if http.mirror_percentage else 100.0
        wanted.append((http.mirror, share, (*path, "mirror")))
    for place, item in enumerate(http.mirrors):
        share = item.percentage.value if item.percentage else 100.0
        wanted.append((item.destination, share, (*path, "mirrors", place, "destination")))
    found = [(destinations.find(destination, where), share) for destination, share, where in wanted]
    return tuple(Mirror(backend, share) for backend, share in found if backend is not None)
