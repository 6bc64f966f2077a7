"""DestinationRule: which one is in force for a caller and a service, and the policy it gives each port and subset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from weft.mesh.routes.rules import HashKey
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import best_match
from weft.mesh.services.service import Balancing, ConnectionLimits, Ejection, Service, TrafficPolicy
from weft.model.document import Document
from weft.model.labels import Labels, labels_from_mapping
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.schema.kinds import destinationrule as api

ValueT = TypeVar("ValueT")
RuleDocument = Document[api.DestinationRuleSpec]
Policy = api.TrafficPolicy | api.PortTrafficPolicy


@dataclass(frozen=True, slots=True, eq=False)
class HostPolicies:
    """The DestinationRules of one namespace by host (full name or wildcard)."""

    hosts: Mapping[str, RuleDocument]

    def find(self, host: str) -> RuleDocument | None:
        """The document with the most specific host that covers `host`."""
        exact = self.hosts.get(host)
        if exact is not None:
            return exact
        wildcard = best_match(tuple(name for name in self.hosts if name.startswith("*")), host)
        return self.hosts[wildcard] if wildcard is not None else None


@dataclass(frozen=True, slots=True, eq=False)
class DestinationRules:
    """All DestinationRules, by namespace."""

    namespaces: Mapping[str, HostPolicies]
    root_namespace: str
    problems: tuple[Problem, ...] = ()

    def find(self, caller: str, service: Service) -> RuleDocument | None:
        """The one in force for callers in namespace `caller`: theirs, then the service's, then the root namespace's."""
        for namespace in (caller, service.namespace, self.root_namespace):
            policies = self.namespaces.get(namespace)
            found = policies.find(service.host) if policies else None
            if found is not None:
                return found
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A service as one caller namespace may use it: the DestinationRule in force decides subsets and policy."""

    service: Service
    rule: RuleDocument | None

    def subset(self, name: str) -> api.Subset | None:
        """The subset called `name`."""
        subsets = self.rule.spec.subsets if self.rule else ()
        return next((subset for subset in subsets if subset.name == name), None)

    def subset_labels(self, name: str) -> Labels:
        """The labels of a subset; none for the whole service."""
        subset = self.subset(name) if name else None
        return labels_from_mapping(subset.labels) if subset else ()

    def policy(self, port: int, subset: str = "") -> TrafficPolicy:
        """The policy for a port of the service or of a subset."""
        return traffic_policy(self.rule.spec, port, subset) if self.rule else TrafficPolicy()

    def origins(self, subset: str = "") -> tuple[Origin, ...]:
        """The documents that shape a backend of it."""
        if self.rule is None:
            return (self.service.origin,)
        names = [item.name for item in self.rule.spec.subsets]
        place = self.rule.at("spec", "subsets", names.index(subset)) if subset in names else self.rule.origin
        return (self.service.origin, place)


def build_destination_rules(
    documents: tuple[RuleDocument, ...], catalog: Catalog, root_namespace: str
) -> DestinationRules:
    """The rules by namespace and host; of two for one host in a namespace the oldest wins."""
    namespaces: dict[str, dict[str, RuleDocument]] = {}
    problems: list[Problem] = []
    for document in sorted(documents, key=lambda item: item.precedence):
        namespace = document.key.namespace
        host = catalog.full_name(document.spec.host, namespace)
        winner = namespaces.setdefault(namespace, {}).setdefault(host, document)
        if winner is not document:
            problems.append(
                Problem(
                    Severity.ERROR,
                    "host-conflict",
                    f"{winner.key} ({winner.origin}) is older and has host '{host}', so this one is not in force",
                    document.at("spec", "host"),
                    document.key,
                    ("spec", "host"),
                    "one DestinationRule for each host of a namespace",
                )
            )
        elif not host.startswith("*") and host not in catalog.services:
            problems.append(
                Problem(
                    Severity.WARNING,
                    "unknown-host",
                    f"no service is called '{document.spec.host}'",
                    document.at("spec", "host"),
                    document.key,
                    ("spec", "host"),
                    "the name of a Service",
                )
            )
    found = {name: HostPolicies(MappingProxyType(hosts)) for name, hosts in namespaces.items()}
    return DestinationRules(MappingProxyType(found), root_namespace, tuple(problems))


def traffic_policy(spec: api.DestinationRuleSpec, port: int, subset: str = "") -> TrafficPolicy:
    """The policy of a port: the host's, then, field by field, the subset's. portLevelSettings replace all that stands
    above them for that port: the subset's those of the host, too."""
    layers: list[Policy | None] = [_at_port(spec.traffic_policy, port)]
    found = next((item.traffic_policy for item in spec.subsets if item.name == subset), None)
    if found is not None:
        own = _at_port(found, port)
        layers = [*layers, own] if own is found else [own]
    balancer = _last([layer.load_balancer for layer in layers if layer])
    pool = _last([layer.connection_pool for layer in layers if layer])
    outlier = _last([layer.outlier_detection for layer in layers if layer])
    tls = _last([layer.tls for layer in layers if layer])
    return TrafficPolicy(
        balancing=_balancing(balancer),
        limits=_limits(pool),
        ejection=_ejection(outlier),
        mutual_tls=None if tls is None else tls.mode == "ISTIO_MUTUAL",
        hash=_hash_key(balancer),
    )


def _at_port(policy: api.TrafficPolicy | None, port: int) -> Policy | None:
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
            return Balancing("maglev", balancer.consistent_hash.maglev.table_size)
        ring = balancer.consistent_hash.ring_hash
        return Balancing("ring-hash", ring.minimum_ring_size if ring else 1024)
    match balancer.simple:
        case "ROUND_ROBIN":
            return Balancing("round-robin")
        case "RANDOM":
            return Balancing("random")
        case _:
            return Balancing()


def _hash_key(balancer: api.LoadBalancer | None) -> HashKey | None:
    key = balancer.consistent_hash if balancer else None
    if key is None:
        return None
    if key.http_header_name:
        return HashKey(header=key.http_header_name.lower())
    if key.http_cookie is not None:
        return HashKey(cookie=key.http_cookie.name, cookie_path=key.http_cookie.path, cookie_ttl=key.http_cookie.ttl)
    if key.http_query_parameter_name:
        return HashKey(query=key.http_query_parameter_name)
    return HashKey(source_ip=True) if key.use_source_ip else None


def _limits(pool: api.ConnectionPool | None) -> ConnectionLimits:
    if pool is None:
        return ConnectionLimits()
    tcp, http = pool.tcp or api.TcpSettings(), pool.http or api.HttpSettings()
    keepalive = tcp.tcp_keepalive or api.TcpKeepalive()
    return ConnectionLimits(
        max_connections=tcp.max_connections,
        max_pending_requests=http.http1_max_pending_requests,
        max_requests=http.http2_max_requests,
        max_requests_per_connection=http.max_requests_per_connection,
        max_retries=http.max_retries,
        max_concurrent_streams=http.max_concurrent_streams,
        connect_timeout=tcp.connect_timeout,
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
