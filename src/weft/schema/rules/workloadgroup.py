"""Rules of WorkloadGroup: ports that a workload can have, and probes of its own host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.model.addresses import is_ip_address, is_loopback
from weft.schema.findings import Finding, Rule, conflicting, no_effect
from weft.schema.kinds.workloadgroup import GroupMetadata, GroupTemplate, HttpProbe, TcpProbe

METRICS = ("prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path")
"""Annotations that are in force."""
_FRAMING = frozenset({"connection", "content-length", "keep-alive", "te", "transfer-encoding", "upgrade"})


def known_annotations(metadata: GroupMetadata) -> Iterator[Finding]:
    """A workload has no annotations: only those that say where metrics are mean something."""
    for name in metadata.annotations:
        if name not in METRICS:
            message = f"'{name}' has no effect in weft: workloads have labels, and no annotations"
            yield no_effect(("annotations", name), message, ", ".join(METRICS))


def ports(template: GroupTemplate) -> Iterator[Finding]:
    """Each port once, and a name that is no number."""
    seen: dict[int, str] = {}
    for name, number in template.ports.items():
        if name.isdigit():
            yield Finding(("ports", name), f"found '{name}'", "a name that is no number")
        if number in seen:
            yield conflicting(("ports", name), f"'{seen[number]}' is port {number} too", "each port once")
        seen.setdefault(number, name)


def own_host(probe: HttpProbe | TcpProbe) -> Iterator[Finding]:
    """An agent asks the application before which it stands, and nobody else on behalf of a document."""
    host = probe.host
    if host and host != "localhost" and not (is_ip_address(host) and is_loopback(host)):
        yield Finding(("host",), f"found '{host}', and an agent probes its own host only", "localhost, or no host")


def path(probe: HttpProbe) -> Iterator[Finding]:
    """A path begins with a slash."""
    if not probe.path.startswith("/") or " " in probe.path or not probe.path.isascii():
        yield Finding(("path",), f"found '{probe.path}'", "a path such as /health")


def headers(probe: HttpProbe) -> Iterator[Finding]:
    """The agent says itself how its request is framed."""
    for index, header in enumerate(probe.http_headers):
        if header.name.lower() in _FRAMING:
            message = f"found '{header.name}', which belongs to the connection"
            yield Finding(("httpHeaders", index, "name"), message, "another header")


RULES: Mapping[type, tuple[Rule, ...]] = {
    GroupMetadata: (known_annotations,),
    GroupTemplate: (ports,),
    HttpProbe: (own_host, path, headers),
    TcpProbe: (own_host,),
}
