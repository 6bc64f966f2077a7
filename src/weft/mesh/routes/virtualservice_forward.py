"""VirtualService: where a rule sends requests, with weights, rewrites, retries and mirrors."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from weft.mesh.policies.destinationrule import Target
from weft.mesh.routes.converted import Reached, reach, trouble
from weft.mesh.routes.rules import (
    NO_BACKEND,
    Forward,
    HeaderChanges,
    Mirror,
    PathRewrite,
    RequestMatch,
    Respond,
    Retry,
    WeightedBackend,
)
from weft.model.document import Document
from weft.model.origin import PathPart
from weft.model.problem import Problem
from weft.schema.kinds import virtualservice as api

ISTIO_RETRY_ON = ("connect-failure", "refused-stream", "unavailable", "cancelled", "503")
_HOST_HEADERS = ("host", ":authority")


@dataclass(frozen=True, slots=True)
class Destinations:
    """The destinations of one document on one port, by host as written; what is wrong is added to `problems`."""

    document: Document[api.VirtualServiceSpec]
    port: int
    targets: Mapping[str, Target | None]
    problems: list[Problem]

    def find(self, destination: api.Destination, path: tuple[PathPart, ...]) -> Reached | None:
        """The destination, or None with a problem that says why there is none."""
        target = self.targets[destination.host]
        if target is None:
            self._missing(path, "host", "unknown-host", f"no service is called '{destination.host}'", "")
            return None
        if destination.subset and target.subset(destination.subset) is None:
            names = [item.name for item in target.rule.spec.subsets] if target.rule else []
            message = f"service '{target.service.host}' has no subset '{destination.subset}'"
            nearest = next(iter(difflib.get_close_matches(destination.subset, names, 1)), "")
            expected = f"one of {', '.join(names)}" if names else "a DestinationRule of that host with this subset"
            self._missing(path, "subset", "unknown-subset", message, expected, nearest)
            return None
        port = self._port(destination, target)
        if port is None:
            ports = ", ".join(str(port.number) for port in target.service.ports)
            asked = f"{destination.port.number}" if destination.port else f"{self.port}"
            message = f"service '{target.service.host}' has no port {asked}"
            self._missing(path, "port", "unknown-port", message, f"one of {ports}" if ports else "a port")
            return None
        return reach(target, port, destination.subset)

    def _port(self, destination: api.Destination, target: Target) -> int | None:
        ports = target.service.ports
        if destination.port is not None:
            return destination.port.number if target.service.port(destination.port.number) else None
        if len(ports) == 1:
            return ports[0].number
        return self.port if target.service.port(self.port) else None

    def _missing(
        self, path: tuple[PathPart, ...], field: str, code: str, message: str, expected: str, nearest: str = ""
    ) -> None:
        known = expected or "the name of a Service"
        self.problems.append(
            trouble(
                self.document, (*path, field), code, f"{message}; requests sent there get 503", known, nearest=nearest
            )
        )


def header_changes(operations: api.HeaderOperations) -> HeaderChanges:
    """Header operations in mesh words, names in lower case."""
    return HeaderChanges(
        set=tuple((name.lower(), value) for name, value in sorted(operations.set.items())),
        add=tuple((name.lower(), value) for name, value in sorted(operations.add.items())),
        remove=tuple(name.lower() for name in operations.remove),
    )


def split_host(changes: HeaderChanges) -> tuple[str, HeaderChanges]:
    """The host that the changes set (empty if none) and the changes without it."""
    host = next((value for name, value in changes.set if name in _HOST_HEADERS), "")
    rest = HeaderChanges(
        tuple(item for item in changes.set if item[0] not in _HOST_HEADERS),
        tuple(item for item in changes.add if item[0] not in _HOST_HEADERS),
        tuple(name for name in changes.remove if name not in _HOST_HEADERS),
    )
    return host, rest


def build_forward(
    destinations: Destinations, index: int, http: api.HttpRoute, match: RequestMatch
) -> Forward | Respond:
    """Where rule `index` sends requests. A destination that does not exist answers 503 for its share."""
    path: tuple[PathPart, ...] = ("spec", "http", index)
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
        hash=next((found.hash for found in reached if found and found.hash), None),
        missing_status=503,
    )


def _backend(item: api.HttpRouteDestination, found: Reached | None, alone: bool) -> WeightedBackend:
    host, request = split_host(header_changes(item.headers.request))
    return WeightedBackend(
        backend=found.backend if found else NO_BACKEND,
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
    )


def _mirrors(destinations: Destinations, path: tuple[PathPart, ...], http: api.HttpRoute) -> tuple[Mirror, ...]:
    wanted: list[tuple[api.Destination, float, tuple[PathPart, ...]]] = []
    if http.mirror is not None:
        share = http.mirror_percentage.value if http.mirror_percentage else 100.0
        wanted.append((http.mirror, share, (*path, "mirror")))
    for place, item in enumerate(http.mirrors):
        share = item.percentage.value if item.percentage else 100.0
        wanted.append((item.destination, share, (*path, "mirrors", place, "destination")))
    found = [(destinations.find(destination, where), share) for destination, share, where in wanted]
    return tuple(Mirror(reached.backend, share) for reached, share in found if reached is not None)
