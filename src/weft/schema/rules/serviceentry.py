"""Rules of ServiceEntry and WorkloadEntry: which resolution goes with which hosts, addresses and endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.model.addresses import is_ip_address
from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing, no_effect
from weft.schema.hosts import is_own_host, is_wildcard
from weft.schema.kinds.serviceentry import EntrySelector, ServiceEntrySpec

BY_CALLER = ("NONE", "DYNAMIC_DNS")
"""Resolutions where each caller's own words say where to."""
_BY_NAME = ("DNS", "DNS_ROUND_ROBIN")
_MOST_SERVICES = 4096
_MOST_INSTANCES = 65_536


def ports(spec: ServiceEntrySpec) -> Iterator[Finding]:
    """Ports are there, each number and each name once; who is called where his callers say has no other port."""
    numbers: set[int] = set()
    names: set[str] = set()
    if not spec.ports:
        yield missing(("ports",), "the entry has no ports, so nothing can call it", "at least one port")
    for index, port in enumerate(spec.ports):
        if port.number in numbers:
            yield duplicate(("ports", index, "number"), f"port {port.number} is given twice")
        if port.name in names:
            yield duplicate(("ports", index, "name"), f"the port name '{port.name}' is given twice")
        numbers.add(port.number)
        names.add(port.name)
        if port.target_port not in (None, port.number) and spec.resolution in BY_CALLER:
            message = f"with resolution {spec.resolution} callers are led to the port that they call"
            yield conflicting(("ports", index, "targetPort"), message, "no targetPort")


def hosts(spec: ServiceEntrySpec) -> Iterator[Finding]:
    """Wildcards stand for names that somebody has to resolve."""
    known: set[str] = set()
    located = spec.endpoints or spec.workload_selector is not None
    for index, host in enumerate(spec.hosts):
        path = ("hosts", index)
        if host in known:
            yield duplicate(path, f"the host '{host}' is given twice")
        known.add(host)
        if "." not in host:
            message = f"'{host}' is the short name of a Service of whoever calls it"
            yield Finding(path, message, f"a host with a dot, such as {host}.example.com")
        if is_wildcard(host):
            if spec.resolution in _BY_NAME and not located:
                message = f"nobody can look up '{host}' in DNS: it is a wildcard"
                yield conflicting(path, message, "a name, endpoints, or resolution DYNAMIC_DNS")
        elif spec.resolution == "DYNAMIC_DNS":
            yield conflicting(path, "resolution DYNAMIC_DNS is for wildcards", "a host such as *.example.com, or DNS")
        elif spec.resolution in (*_BY_NAME, "NONE") and not located and is_own_host(host):
            message = f"'{host}' is the own host of every proxy that calls it"
            yield Finding(path, message, "the name of another host", code="own-host")


def addresses(spec: ServiceEntrySpec) -> Iterator[Finding]:
    """Ranges go with STATIC and NONE only, as in Istio's own check."""
    for index, address in enumerate(spec.addresses):
        if "/" in address and spec.resolution not in ("STATIC", "NONE"):
            message = f"a range of addresses does not go with resolution {spec.resolution}"
            yield conflicting(("addresses", index), message, "an address, or resolution STATIC or NONE")
        elif "/" in address:
            message = "callers name what they call, so a range has no effect: they use the host"
            yield no_effect(("addresses", index), message)


def endpoints(spec: ServiceEntrySpec) -> Iterator[Finding]:
    """Instances are written or selected, never both; how they are found is the resolution's word."""
    if spec.endpoints and spec.workload_selector is not None:
        yield conflicting(("workloadSelector",), "endpoints and workloadSelector exclude each other", "one of them")
    if spec.resolution in BY_CALLER and spec.endpoints:
        message = f"with resolution {spec.resolution} callers say where they are led, so endpoints mean nothing"
        yield conflicting(("endpoints",), message, "no endpoints, or another resolution")
    if spec.resolution in BY_CALLER and spec.workload_selector is not None:
        message = f"with resolution {spec.resolution} callers say where they are led, so it selects nothing"
        yield conflicting(("workloadSelector",), message, "resolution STATIC or DNS")
    if spec.resolution == "STATIC" and not spec.endpoints and spec.workload_selector is None:
        yield missing((), "resolution STATIC needs 'endpoints' or 'workloadSelector'", "endpoints")
    if spec.resolution == "DNS_ROUND_ROBIN" and len(spec.endpoints) > 1:
        message = "resolution DNS_ROUND_ROBIN has one name to look up"
        yield conflicting(("endpoints", 1), message, "one endpoint, or resolution DNS")
    if spec.resolution == "DYNAMIC_DNS" and spec.location != "MESH_EXTERNAL":
        message = "resolution DYNAMIC_DNS is for what is outside the mesh"
        yield conflicting(("location",), message, "MESH_EXTERNAL")
    names = {port.name for port in spec.ports}
    for index, endpoint in enumerate(spec.endpoints):
        path = ("endpoints", index)
        if spec.resolution == "STATIC" and not is_ip_address(endpoint.address):
            message = f"'{endpoint.address}' has to be looked up, which resolution STATIC does not do"
            yield conflicting((*path, "address"), message, "an IP address, or resolution DNS")
        elif not is_ip_address(endpoint.address) and is_own_host(endpoint.address):
            message = f"'{endpoint.address}' is the own host of every proxy that calls it"
            yield Finding((*path, "address"), message, "the name of another host", code="own-host")
        for name in endpoint.ports:
            if name not in names:
                message = f"the entry has no port called '{name}'"
                yield Finding((*path, "ports", name), message, ", ".join(sorted(names)), code="unknown-port-name")


def size(spec: ServiceEntrySpec) -> Iterator[Finding]:
    """Each port of each host is a service of its own, and has all the endpoints."""
    services = len(spec.hosts) * len(spec.ports)
    if services > _MOST_SERVICES:
        message = f"{len(spec.hosts)} hosts with {len(spec.ports)} ports each are {services} services for every caller"
        yield Finding(("hosts",), message, f"at most {_MOST_SERVICES} in one document", code="too-large")
    elif services * len(spec.endpoints) > _MOST_INSTANCES:
        message = f"{services} ports of hosts with {len(spec.endpoints)} endpoints each are too many"
        yield Finding(("endpoints",), message, f"at most {_MOST_INSTANCES} of all ports together", code="too-large")


def selector(spec: EntrySelector) -> Iterator[Finding]:
    """No labels would select nothing."""
    if not spec.labels:
        yield missing(("labels",), "it selects nothing", "at least one label")


RULES: Mapping[type, tuple[Rule, ...]] = {
    ServiceEntrySpec: (ports, hosts, addresses, endpoints, size),
    EntrySelector: (selector,),
}
