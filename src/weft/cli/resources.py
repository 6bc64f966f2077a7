"""Envoy resources (in Envoy's JSON form) as rows of tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
Row = Sequence[object]


def resource_table(section: str, resources: Sequence[Json]) -> tuple[Sequence[str], list[Row]]:
    """Headings and rows for one section of ``weft proxy config``."""
    headings, rows = _TABLES[section]
    return headings, [row for resource in resources for row in rows(resource)]


def _of(value: Json, *names: str) -> Any:
    """The first of `names` (Envoy's JSON has camelCase or snake_case) that `value` has."""
    for name in names:
        if name in value:
            return value[name]
    return None


def _address(value: Any) -> str:
    if not isinstance(value, Mapping):
        return ""
    socket = _of(value, "socketAddress", "socket_address")
    if socket:
        return f"{socket.get('address')}:{_of(socket, 'portValue', 'port_value')}"
    pipe = value.get("pipe")
    if pipe:
        return f"unix:{pipe.get('path')}"
    internal = _of(value, "envoyInternalAddress", "envoy_internal_address")
    return f"internal:{_of(internal, 'serverListenerName', 'server_listener_name')}" if internal else ""


def _source(value: Json) -> str:
    metadata = value.get("metadata") or {}
    notes = (_of(metadata, "filterMetadata", "filter_metadata") or {}).get("weft") or {}
    return str(notes.get("src") or "")


def _origins(value: Json) -> str:
    return ", ".join(value.get("origins") or ())


def _clusters(one: Json) -> Iterator[Row]:
    kind = one.get("type") or (_of(one, "clusterType", "cluster_type") or {}).get("name") or "STATIC"
    policy = _of(one, "lbPolicy", "lb_policy") or "ROUND_ROBIN"
    tls = "mTLS" if _of(one, "transportSocket", "transport_socket", "transportSocketMatches") else "-"
    yield one.get("name"), kind, policy, tls, _origins(one)


def _endpoints(one: Json) -> Iterator[Row]:
    cluster = _of(one, "clusterName", "cluster_name")
    found = False
    for group in one.get("endpoints") or ():
        for endpoint in _of(group, "lbEndpoints", "lb_endpoints") or ():
            found = True
            health = _of(endpoint, "healthStatus", "health_status") or "HEALTHY"
            yield cluster, _address((endpoint.get("endpoint") or {}).get("address")), health
    if not found:
        yield cluster, "(none)", ""


def _listeners(one: Json) -> Iterator[Row]:
    chains = _of(one, "filterChains", "filter_chains") or ()
    tls = "TLS" if any(_of(chain, "transportSocket", "transport_socket") for chain in chains) else "-"
    direction = _of(one, "trafficDirection", "traffic_direction") or "-"
    internal = "internal_listener" in one or "internalListener" in one
    address = "internal" if internal else _address(one.get("address"))
    yield one.get("name"), address, direction, tls, len(chains), _origins(one)


def _routes(one: Json) -> Iterator[Row]:
    for host in _of(one, "virtualHosts", "virtual_hosts") or ():
        names = sorted(host.get("domains") or ("",), key=len)
        domains = names[0] + (f" (+{len(names) - 1})" if len(names) > 1 else "")
        for route in host.get("routes") or ():
            yield one.get("name"), domains, _match(route.get("match") or {}), _action(route), _source(route)


def _match(match: Json) -> str:
    text = ""
    for name, sign in (("path", "= "), ("prefix", ""), ("pathSeparatedPrefix", ""), ("path_separated_prefix", "")):
        if name in match:
            text = f"{sign}{match[name]}" + ("" if name == "path" else "*")
    regex = _of(match, "safeRegex", "safe_regex")
    if regex:
        text = f"~ {regex.get('regex')}"
    if "connectMatcher" in match or "connect_matcher" in match:
        text = "CONNECT"
    headers = len(match.get("headers") or ())
    queries = len(_of(match, "queryParameters", "query_parameters") or ())
    extra = [f"{count} {word}" for count, word in ((headers, "headers"), (queries, "queries")) if count]
    return text + (f" +{', '.join(extra)}" if extra else "")


def _action(route: Json) -> str:
    if "redirect" in route:
        return "redirect"
    direct = _of(route, "directResponse", "direct_response")
    if direct:
        return f"answer {direct.get('status')}"
    action = route.get("route") or {}
    weighted = _of(action, "weightedClusters", "weighted_clusters")
    if weighted:
        return " ".join(f"{one.get('name')}:{one.get('weight', 0)}" for one in weighted.get("clusters") or ())
    return str(action.get("cluster") or _of(action, "clusterHeader", "cluster_header") or "-")


def _filters(one: Json) -> Iterator[Row]:
    config = _of(one, "typedConfig", "typed_config") or {}
    yield one.get("name"), str(config.get("@type", "")).rpartition(".")[2], _origins(one)


def _secrets(one: Json) -> Iterator[Row]:
    if "identity" in one:
        yield one.get("name"), f"certificate of {one['identity']}", one.get("expires"), one.get("file")
        return
    kinds = [name for name in one if name not in ("name", "@type", "origins")]
    yield one.get("name"), ", ".join(kinds), "", _origins(one)


_TABLES: dict[str, tuple[Sequence[str], Any]] = {
    "clusters": (("NAME", "TYPE", "POLICY", "TLS", "SOURCE"), _clusters),
    "endpoints": (("CLUSTER", "ADDRESS", "HEALTH"), _endpoints),
    "listeners": (("NAME", "ADDRESS", "DIRECTION", "TLS", "CHAINS", "SOURCE"), _listeners),
    "routes": (("ROUTES", "DOMAINS", "MATCH", "TO", "SOURCE"), _routes),
    "filters": (("NAME", "TYPE", "SOURCE"), _filters),
    "secrets": (("NAME", "HOLDS", "EXPIRES", "SOURCE"), _secrets),
}
