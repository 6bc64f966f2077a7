"""DestinationRule: which one is in force for a caller and a service, and the policy it gives each port and subset."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from weft.mesh.policies.localitylbsetting import nearness_of
from weft.mesh.policies.scope import Policy, Scope, settle
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.exports import Exports, exports_of, is_exported
from weft.mesh.services.references import nearest_host, unknown_host, unknown_port
from weft.mesh.services.service import (
    Balancing,
    CertificateName,
    ConnectionLimits,
    Ejection,
    Frontend,
    HashKey,
    HttpVersion,
    NameKind,
    Nearness,
    RetryBudget,
    Tls,
    TrafficPolicy,
    Warmup,
)
from weft.model.document import Document
from weft.model.labels import Labels, labels_from_mapping, selects
from weft.model.origin import FieldPath, Origin
from weft.model.problem import Problem
from weft.schema.hosts import is_wildcard
from weft.schema.kinds import destinationrule as api

ValueT = TypeVar("ValueT")
RuleDocument = Document[api.DestinationRuleSpec]
Chosen = tuple[Policy[api.DestinationRuleSpec], ...]
"""DestinationRules whose selectors name a workload, oldest first."""
Settings = api.TrafficPolicy | api.PortTrafficPolicy
_MUTUAL = {"DISABLE": False, "ISTIO_MUTUAL": True}


@dataclass(frozen=True, slots=True, eq=False)
class HostPolicies:
    """The DestinationRules of one namespace by host: full names, and wildcards by what follows the ``*``."""

    hosts: Mapping[str, RuleDocument]
    suffixes: Mapping[str, RuleDocument]
    exports: Mapping[int, Exports] = field(default_factory=lambda: MappingProxyType({}))
    """Who is told of those that not everybody is, by identity."""

    def find(self, host: str, caller: str = "") -> RuleDocument | None:
        """The document with the most specific host that covers `host`, of those that callers in a namespace see."""
        exact = self.hosts.get(host)
        if exact is not None and self.seen(exact, caller):
            return exact
        if not self.suffixes:
            return None
        start = host.find(".")
        while start >= 0:
            found = self.suffixes.get(host[start:])
            if found is not None and self.seen(found, caller):
                return found
            start = host.find(".", start + 1)
        last = self.suffixes.get("")
        return last if last is not None and self.seen(last, caller) else None

    def seen(self, document: RuleDocument, caller: str) -> bool:
        """Whether a document is for callers in a namespace, too."""
        return not self.exports or is_exported(self.exports.get(id(document), ()), caller)


@dataclass(frozen=True, slots=True, eq=False)
class DestinationRules:
    """All DestinationRules, by namespace: those for every caller, and, `selecting`, those for the workloads of their
    own namespace that a selector names."""

    namespaces: Mapping[str, HostPolicies]
    root_namespace: str
    problems: tuple[Problem, ...] = ()
    selecting: Mapping[str, Chosen] = field(default_factory=lambda: MappingProxyType({}))
    named: frozenset[str] = frozenset()
    """The namespaces that documents of others are for."""

    def concerns(self, caller: str) -> bool:
        """Whether callers in a namespace may have other documents in force than most."""
        return caller in self.namespaces or caller in self.named

    def chosen(self, namespace: str, labels: Labels) -> Chosen:
        """Those that select a workload."""
        given = self.selecting.get(namespace, ())
        return tuple([each for each in given if each.scope.known and selects(each.scope.selector, labels)])

    def find(self, caller: str, frontend: Frontend, chosen: Chosen = ()) -> RuleDocument | None:
        """The one in force for callers in namespace `caller`: one of those that were `chosen` for a workload, theirs,
        then the service's, then the root namespace's."""
        if chosen and (own := _chosen_policies(chosen).find(frontend.host)) is not None:
            return own
        for namespace in (caller, frontend.namespace, self.root_namespace):
            policies = self.namespaces.get(namespace)
            found = policies.find(frontend.host, caller) if policies else None
            if found is None and policies and frontend.alias and namespace == self.root_namespace:
                found = policies.find(frontend.alias, caller)
            if found is not None:
                return found
        return None

    def hosts_of(self, namespace: str, known: Collection[str], chosen: Chosen = ()) -> Iterable[str]:
        """Those of the `known` hosts that a document of the namespace, or one of the `chosen`, is for; some twice. All,
        where documents are not for everybody."""
        if namespace in self.named:
            yield from known
        for policies in (self.namespaces.get(namespace), _chosen_policies(chosen) if chosen else None):
            if policies is None:
                continue
            if policies.suffixes or policies.exports:
                yield from (host for host in known if policies.find(host, namespace) is not None)
            else:
                yield from (host for host in policies.hosts if host in known)


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
    documents: tuple[RuleDocument, ...], catalog: Catalog, root_namespace: str, exports: tuple[str, ...] = ()
) -> DestinationRules:
    """The rules by namespace and host; of two for one host in a namespace the oldest wins. `exports` say who sees those
    that do not say it themselves."""
    given = [Policy(_scope(each, catalog), each) for each in documents]
    expected = "one DestinationRule for each host of a namespace"
    settled, conflicts = settle(given, ("spec", "host"), "host-conflict", expected)
    namespaces: dict[str, dict[str, RuleDocument]] = {}
    selecting: dict[str, list[Policy[api.DestinationRuleSpec]]] = {}
    problems: list[Problem] = [*conflicts]
    for policy in settled:
        if policy.scope.selector:
            selecting.setdefault(policy.scope.namespace, []).append(policy)
        else:
            namespaces.setdefault(policy.scope.namespace, {})[policy.scope.target] = policy.document
        problems += _reference_problems(policy.document, policy.scope.target, catalog)
    return DestinationRules(
        MappingProxyType({name: _host_policies(hosts, exports) for name, hosts in namespaces.items()}),
        root_namespace,
        tuple(problems),
        MappingProxyType({name: tuple(policies) for name, policies in selecting.items()}),
        frozenset(
            name
            for policy in settled
            for name in exports_of(policy.document.spec.export_to, policy.scope.namespace, exports)
            if name != policy.scope.namespace
        ),
    )


def _scope(document: RuleDocument, catalog: Catalog) -> Scope:
    selector = document.spec.workload_selector
    labels = labels_from_mapping(selector.match_labels) if selector is not None else ()
    return Scope(document.key.namespace, labels, catalog.meant(document.spec.host, document.key.namespace))


def _chosen_policies(chosen: Chosen) -> HostPolicies:
    return _host_policies({policy.scope.target: policy.document for policy in reversed(chosen)})


def _host_policies(documents: Mapping[str, RuleDocument], exports: tuple[str, ...] = ()) -> HostPolicies:
    wildcards = {host[1:]: document for host, document in documents.items() if is_wildcard(host)}
    hosts = {host: document for host, document in documents.items() if not is_wildcard(host)}
    seen = {
        id(document): names
        for document in documents.values()
        if (names := exports_of(document.spec.export_to, document.key.namespace, exports))
    }
    return HostPolicies(MappingProxyType(hosts), MappingProxyType(wildcards), MappingProxyType(seen))


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
    rule: RuleDocument | None,
    port: int,
    subset: str = "",
    connect_timeout: float | None = None,
    distribution: str = "",
    nearness: Nearness | None = None,
) -> TrafficPolicy:
    """The policy of a port: the host's, then, field by field, the subset's. portLevelSettings replace all that stands
    above them for that port: the subset's those of the host, too. `connect_timeout` and `nearness` are the mesh's
    defaults, `distribution` what the Service says of it."""
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
    budget = _last([layer.retry_budget for layer in layers if layer])
    tunnel = _last([layer.tunnel for layer in layers if layer])
    proxied = _last([layer.proxy_protocol for layer in layers if layer])
    mutual = tls if tls is not None and tls.mode == "ISTIO_MUTUAL" else None
    return TrafficPolicy(
        balancing=_balancing(balancer),
        limits=connection_limits(pool, connect_timeout),
        ejection=_ejection(outlier),
        mutual_tls=_MUTUAL.get(tls.mode) if tls is not None else None,
        sni=mutual.sni if mutual is not None else "",
        accepted=mutual.subject_alt_names if mutual is not None else (),
        tls=None if tls is None or tls.mode in _MUTUAL else tls_from_api(tls),
        retry_budget=None if budget is None else RetryBudget(budget.percent, budget.min_retry_concurrency),
        version=_version(pool),
        tunnel=f"{tunnel.target_host}:{tunnel.target_port}" if tunnel is not None else "",
        by_post=tunnel is not None and tunnel.protocol == "POST",
        proxy_protocol=proxied.version if proxied is not None else "",
        nearness=nearness_of(
            balancer.locality_lb_setting or balancer.zone_aware_lb_setting if balancer else None,
            distribution,
            nearness,
            outlier is not None,
        ),
    )


def tls_from_api(tls: api.ClientTls) -> Tls:
    """What SIMPLE and MUTUAL ask for. Istio checks no name where `sni` is given and `subjectAltNames` are not; where
    everybody's authorities are believed, that would believe everybody, so the name asked for is demanded then."""
    names = tuple(certificate_name(name) for name in tls.subject_alt_names)
    if tls.sni and not names and not tls.credential_name and not tls.insecure_skip_verify:
        names = (certificate_name(tls.sni),)
    return Tls(
        sni=tls.sni,
        names=names,
        credential=tls.credential_name,
        proves=tls.mode == "MUTUAL",
        insecure=tls.insecure_skip_verify,
    )


def certificate_name(name: str) -> CertificateName:
    """The kind that a name is of, by its form."""
    if "://" in name:
        return CertificateName(NameKind.URI, name)
    try:
        return CertificateName(NameKind.ADDRESS, str(ipaddress.ip_address(name)))
    except ValueError:
        return CertificateName(NameKind.EMAIL if "@" in name else NameKind.DNS, name)


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
            return Balancing("round-robin", warmup=_warmup(balancer))
        case "RANDOM":
            return Balancing("random")
        case _:
            return Balancing(warmup=_warmup(balancer))


def _warmup(balancer: api.LoadBalancer) -> Warmup | None:
    if balancer.warmup_duration_secs is not None:
        return Warmup(balancer.warmup_duration_secs)
    given = balancer.warmup
    return None if given is None else Warmup(given.duration, given.minimum_percent, given.aggression)


def _version(pool: api.ConnectionPool | None) -> HttpVersion:
    http = pool.http if pool is not None else None
    if http is None:
        return HttpVersion.USUAL
    if http.use_client_protocol:
        return HttpVersion.CALLERS
    return HttpVersion.HTTP2 if http.h2_upgrade_policy == "UPGRADE" else HttpVersion.USUAL


def _hash_key(key: api.ConsistentHash) -> HashKey | None:
    if key.http_header_name:
        return HashKey(header=key.http_header_name.lower())
    if key.http_cookie is not None:
        return HashKey(cookie=key.http_cookie.name, cookie_path=key.http_cookie.path, cookie_ttl=key.http_cookie.ttl)
    if key.http_query_parameter_name:
        return HashKey(query=key.http_query_parameter_name)
    return HashKey(source_ip=True) if key.use_source_ip else None


def connection_limits(pool: api.ConnectionPool | None, connect_timeout: float | None) -> ConnectionLimits:
    """What a connection pool bounds; `connect_timeout` where it says none."""
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
