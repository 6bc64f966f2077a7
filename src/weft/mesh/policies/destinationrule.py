"""DestinationRule: which one is in force for a caller and a service, and the policy it gives each port and subset."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from weft.mesh.policies.scope import Policy, Scope, settle
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import nearest_host, unknown_host, unknown_port
from weft.mesh.services.service import Balancing, ConnectionLimits, Ejection, Frontend, HashKey, TrafficPolicy
from weft.model.document import Document
from weft.model.labels import Labels, labels_from_mapping
from weft.model.origin import FieldPath, Origin
from weft.model.problem import Problem
from weft.schema.hosts import is_wildcard
from weft.schema.kinds import destinationrule as api

ValueT = TypeVar("ValueT")
RuleDocument = Document[api.DestinationRuleSpec]
Settings = api.TrafficPolicy | api.PortTrafficPolicy


@dataclass(frozen=True, slots=True, eq=False)
class HostPolicies:
    """The DestinationRules of one namespace by host: full names, and wildcards by what follows the ``*``."""

    hosts: Mapping[str, RuleDocument]
    suffixes: Mapping[str, RuleDocument]

    def find(self, host: str) -> RuleDocument | None:
        """The document with the most specific host that covers `host`."""
        exact = self.hosts.get(host)
        if exact is not None or not self.suffixes:
            return exact
        start = host.find(".")
        while start >= 0:
            found = self.suffixes.get(host[start:])
            if found is not None:
                return found
            start = host.find(".", start + 1)
        return self.suffixes.get("")


@dataclass(frozen=True, slots=True, eq=False)
class DestinationRules:
    """All DestinationRules, by namespace."""

    namespaces: Mapping[str, HostPolicies]
    root_namespace: str
    problems: tuple[Problem, ...] = ()

    def find(self, caller: str, frontend: Frontend) -> RuleDocument | None:
        """The one in force for callers in namespace `caller`: theirs, then the service's, then the root namespace's."""
        for namespace in (caller, frontend.namespace, self.root_namespace):
            policies = self.namespaces.get(namespace)
            found = policies.find(frontend.host) if policies else None
            if found is not None:
                return found
        return None

    def hosts_of(self, namespace: str, known: Collection[str]) -> Iterable[str]:
        """Those of the `known` hosts that a document of the namespace is for."""
        policies = self.namespaces.get(namespace)
        if policies is None:
            return ()
        if policies.suffixes:
            return (host for host in known if policies.find(host) is not None)
        return (host for host in policies.hosts if host in known)


def subset_of(rule: RuleDocument | None, name: str) -> api.Subset | None:
    """The subset called `name`, if the document in force has one."""
    return next((subset for subset in rule.spec.subsets if subset.name == name), None) if rule else None


def subset_names(rule: RuleDocument | None) -> tuple[str, ...]:
    """The names of all subsets of the document in force."""
    return tuple([subset.name for subset in rule.spec.subsets]) if rule else ()


def subset_labels(rule: RuleDocument | None, name: str) -> Labels | None:
    """The labels of a subset; None if there is no such subset."""
    subset = subset_of(rule, name)
    return None if subset is None else labels_from_mapping(subset.labels)


def rule_origins(rule: RuleDocument | None, subset: str) -> tuple[Origin, ...]:
    """Where the document in force says what it says of a subset, or of the whole service."""
    if rule is None:
        return ()
    names = [item.name for item in rule.spec.subsets]
    return (rule.at("spec", "subsets", names.index(subset)) if subset in names else rule.origin,)


def build_destination_rules(
    documents: tuple[RuleDocument, ...], catalog: Catalog, root_namespace: str
) -> DestinationRules:
    """The rules by namespace and host; of two for one host in a namespace the oldest wins."""
    given = [
        Policy(Scope(each.key.namespace, target=catalog.full_name(each.spec.host, each.key.namespace)), each)
        for each in documents
    ]
    expected = "one DestinationRule for each host of a namespace"
    settled, conflicts = settle(given, ("spec", "host"), "host-conflict", expected)
    namespaces: dict[str, dict[str, RuleDocument]] = {}
    problems: list[Problem] = [*conflicts]
    for policy in settled:
        namespaces.setdefault(policy.scope.namespace, {})[policy.scope.target] = policy.document
        problems += _reference_problems(policy.document, policy.scope.target, catalog)
    return DestinationRules(
        MappingProxyType({name: _host_policies(hosts) for name, hosts in namespaces.items()}),
        root_namespace,
        tuple(problems),
    )


def _host_policies(documents: Mapping[str, RuleDocument]) -> HostPolicies:
    wildcards = {host[1:]: document for host, document in documents.items() if is_wildcard(host)}
    hosts = {host: document for host, document in documents.items() if not is_wildcard(host)}
    return HostPolicies(MappingProxyType(hosts), MappingProxyType(wildcards))


def _reference_problems(document: RuleDocument, host: str, catalog: Catalog) -> Iterable[Problem]:
    """A host that is no service, and ports that the service does not have."""
    if is_wildcard(host):
        return
    frontend = catalog.by_host.get(host)
    if frontend is None:
        near = nearest_host(document.spec.host, document.key.namespace, catalog)
        yield unknown_host(document, ("spec", "host"), document.spec.host, near)
        return
    policies: list[tuple[FieldPath, api.TrafficPolicy | None]] = [
        (("spec", "trafficPolicy"), document.spec.traffic_policy)
    ]
    for index, subset in enumerate(document.spec.subsets):
        policies.append((("spec", "subsets", index, "trafficPolicy"), subset.traffic_policy))
    for path, policy in policies:
        for index, each in enumerate(policy.port_level_settings if policy else ()):
            if frontend.port(each.port.number) is None:
                where = (*path, "portLevelSettings", index, "port", "number")
                yield unknown_port(document, where, frontend, each.port.number)


def traffic_policy(
    rule: RuleDocument | None, port: int, subset: str = "", connect_timeout: float | None = None
) -> TrafficPolicy:
    """The policy of a port: the host's, then, field by field, the subset's. portLevelSettings replace all that stands
    above them for that port: the subset's those of the host, too. `connect_timeout` is the mesh's default."""
    layers: list[Settings | None] = [_at_port(rule.spec.traffic_policy, port)] if rule else []
    subset_found = subset_of(rule, subset)
    found = subset_found.traffic_policy if subset_found else None
    if found is not None:
        own = _at_port(found, port)
        layers = [*layers, own] if own is found else [own]
    balancer = _last([layer.load_balancer for layer in layers if layer])
    pool = _last([layer.connection_pool for layer in layers if layer])
    outlier = _last([layer.outlier_detection for layer in layers if layer])
    tls = _last([layer.tls for layer in layers if layer])
    return TrafficPolicy(
        balancing=_balancing(balancer),
        limits=_limits(pool, connect_timeout),
        ejection=_ejection(outlier),
        mutual_tls=None if tls is None else tls.mode == "ISTIO_MUTUAL",
    )


def _at_port(policy: api.TrafficPolicy | None, port: int) -> Settings | None:
    if policy is None:
        return None
    return next((item for item in policy.port_level_settings if item.port.number == port), policy)


def _last(values: list[ValueT | None]) -> ValueT | None:
    return next((value for value in reversed(values) if value is not None), None)


def _balancing(balancer: api.LoadBalancer | None) -> Balancing:
    if balancer is None:
        return Balancing()
    if balancer.consistent_hash is not None:
        if balancer.consistent_hash.maglev is not None:
            return Balancing("maglev", balancer.consistent_hash.maglev.table_size, _hash_key(balancer.consistent_hash))
        ring = balancer.consistent_hash.ring_hash
        return Balancing("ring-hash", ring.minimum_ring_size if ring else 1024, _hash_key(balancer.consistent_hash))
    match balancer.simple:
        case "ROUND_ROBIN":
            return Balancing("round-robin")
        case "RANDOM":
            return Balancing("random")
        case _:
            return Balancing()


def _hash_key(key: api.ConsistentHash) -> HashKey | None:
    if key.http_header_name:
        return HashKey(header=key.http_header_name.lower())
    if key.http_cookie is not None:
        return HashKey(cookie=key.http_cookie.name, cookie_path=key.http_cookie.path, cookie_ttl=key.http_cookie.ttl)
    if key.http_query_parameter_name:
        return HashKey(query=key.http_query_parameter_name)
    return HashKey(source_ip=True) if key.use_source_ip else None


def _limits(pool: api.ConnectionPool | None, connect_timeout: float | None) -> ConnectionLimits:
    if pool is None:
        return ConnectionLimits(connect_timeout=connect_timeout)
    tcp, http = pool.tcp or api.TcpSettings(), pool.http or api.HttpSettings()
    keepalive = tcp.tcp_keepalive or api.TcpKeepalive()
    return ConnectionLimits(
        max_connections=tcp.max_connections,
        max_pending_requests=http.http1_max_pending_requests,
        max_requests=http.http2_max_requests,
        max_requests_per_connection=http.max_requests_per_connection,
        max_retries=http.max_retries,
        max_concurrent_streams=http.max_concurrent_streams,
        connect_timeout=connect_timeout if tcp.connect_timeout is None else tcp.connect_timeout,
        http_idle_timeout=http.idle_timeout,
        tcp_idle_timeout=tcp.idle_timeout,
        max_connection_duration=tcp.max_connection_duration,
        keepalive_probes=keepalive.probes,
        keepalive_time=keepalive.time,
        keepalive_interval=keepalive.interval,
    )


def _ejection(outlier: api.OutlierDetection | None) -> Ejection | None:
    if outlier is None:
        return None
    return Ejection(
        consecutive_5xx=outlier.consecutive_5xx_errors,
        consecutive_gateway_errors=outlier.consecutive_gateway_errors,
        consecutive_local_failures=outlier.consecutive_local_origin_failures,
        split_local=outlier.split_external_local_origin_errors,
        interval=outlier.interval,
        base_time=outlier.base_ejection_time,
        max_percent=outlier.max_ejection_percent,
        min_health_percent=outlier.min_health_percent,
    )
