"""Backends: what is sent where nothing takes it, taken out altogether, hashed onto one, or refused by TLS."""

from __future__ import annotations

from collections.abc import Iterator

from weft.findings.analysis.subject import Subject, listed, short
from weft.findings.finding import Finding, finding
from weft.mesh.policies.destinationrule import RuleDocument, subset_of
from weft.mesh.services.endpoints import port_behind
from weft.mesh.services.service import BackendKey, Frontend, MutualTls, MutualTlsMode, PerEndpoint, Protocol, Target
from weft.model.document import ObjectKey
from weft.model.labels import labels_from_mapping, selects
from weft.model.origin import Origin


def weight_to_nothing(subject: Subject) -> Iterator[Finding]:
    """Shares of requests that go where no endpoint is healthy, while other shares are served."""
    if not subject.mesh.workloads:
        return
    for one in subject.rules:
        backends = one.forward.backends if one.forward is not None else ()
        total = sum(item.weight for item in backends)
        for item in backends:
            if item.backend is None or not item.weight or subject.healthy(item.backend) != 0:
                continue
            if len(backends) == 1 and not item.backend.subset:
                continue  # the service as a whole, which is told about by itself
            if not _has_subset(subject, one.namespace, item.backend):
                continue  # nobody defines it, which is told by itself
            what = f"subset {item.backend.subset} of " if item.backend.subset else ""
            text = f"{item.weight} of {total} go to {what}{short(item.backend.host)}, which has no healthy endpoint"
            yield finding("weight-to-nothing", text, object=one.rule.object, origin=one.rule.origin)


def _has_subset(subject: Subject, namespace: str, key: BackendKey) -> bool:
    """Whether the subset that a backend names is defined for callers in a namespace."""
    frontend = subject.mesh.catalog.by_host.get(key.host)
    if not key.subset or frontend is None:
        return True
    return subset_of(subject.mesh.destination_rules.find(namespace, frontend), key.subset) is not None


def subset_selects_nothing(subject: Subject) -> Iterator[Finding]:
    """Subsets whose labels no workload of the service has, where it has any."""
    for document, frontend in _rules_of_services(subject):
        chosen = subject.behind.get(frontend.host, ())
        for index, subset in enumerate(document.spec.subsets if chosen else ()):
            labels = labels_from_mapping(subset.labels)
            if not any(selects(labels, one.labels) for one in chosen):
                told = ",".join(f"{name}={value}" for name, value in labels)
                text = f"subset {subset.name} of {short(frontend.host)} selects no workload (labels: {told})"
                origin = document.at("spec", "subsets", index)
                yield finding("subset-selects-nothing", text, object=document.key, origin=origin)


def _rules_of_services(subject: Subject) -> Iterator[tuple[RuleDocument, Frontend]]:
    for policies in subject.mesh.destination_rules.namespaces.values():
        for host, document in policies.hosts.items():
            frontend = subject.mesh.catalog.by_host.get(host)
            if frontend is not None:
                yield document, frontend


def ejects_last_host(subject: Subject) -> Iterator[Finding]:
    """Outlier detection that leaves nobody: weft's clusters always eject one, and send to no ejected endpoint. Each
    document is told about once."""
    told: set[ObjectKey] = set()
    for target in subject.mesh.targets.all:
        ejection, key = target.backend.policy.ejection, _rule_key(subject, target)
        if ejection is None or ejection.min_health_percent or key in told:
            continue
        count = len(target.endpoints.endpoints) if target.endpoints is not None else 0
        if ejection.max_percent == 100:
            text = f"maxEjectionPercent is 100: all of {_named(target)} may be taken out at once"
        elif count == 1:
            text = f"{_named(target)} has 1 endpoint, and outlier detection may take it out"
        else:
            continue
        told.add(key)
        yield finding("ejects-last-host", text, object=key, origin=_policy_origin(target))


def hash_with_one_endpoint(subject: Subject) -> Iterator[Finding]:
    """Consistent hashing over one endpoint."""
    for target in subject.mesh.targets.all:
        hashed = target.backend.policy.balancing.hash is not None
        if hashed and target.endpoints is not None and len(target.endpoints.endpoints) == 1:
            text = f"{_named(target)} has 1 endpoint: consistent hashing has nothing to choose from"
            yield finding("hash-with-one-endpoint", text, object=target.backend.object, origin=_policy_origin(target))


def tls_mismatch(subject: Subject) -> Iterator[Finding]:
    """Plaintext, or TLS of another kind, towards workloads that accept mutual TLS only."""
    told: set[Origin] = set()
    for target in subject.mesh.targets.all:
        origin = _policy_origin(target)
        policy = target.backend.policy
        outside = policy.mutual_tls is False or policy.tls is not None
        if not outside or target.endpoints is None or origin in told:
            continue
        frontend = subject.mesh.catalog.by_host[target.backend.key.host]
        strict = []
        for endpoint in target.endpoints.endpoints:
            mode, places = _mode(subject, frontend, target, endpoint.workload)
            if mode is MutualTlsMode.STRICT:
                strict.append(f"{endpoint.workload.partition('.')[0]}{f' ({places[0]})' if places else ''}")
        if strict:
            told.add(origin)
            how = "plaintext" if policy.tls is None else "TLS without an identity of the mesh"
            text = f"callers use {how} towards {listed(strict)}, which accepts mutual TLS only"
            yield finding("tls-mismatch", text, object=_rule_key(subject, target), origin=origin)


def settings_without_effect(subject: Subject) -> Iterator[Finding]:
    """What a DestinationRule says of connections that are not there."""
    told: set[Origin] = set()
    for target in subject.mesh.targets.all:
        backend, origin = target.backend, _policy_origin(target)
        if origin in told:
            continue
        inside = isinstance(backend.transport, MutualTls | PerEndpoint)
        text = ""
        if backend.policy.proxy_protocol and inside:
            text = "proxyProtocol has no effect: proxies of the mesh expect TLS first, and get it"
        elif backend.policy.tunnel and backend.protocol is not Protocol.TCP:
            text = "tunnel has no effect: only connections are led through it, and this port carries requests"
        if text:
            told.add(origin)
            text = f"{_named(target)}: {text}"
            yield finding("setting-without-effect", text, object=_rule_key(subject, target), origin=origin)


def _mode(
    subject: Subject, frontend: Frontend, target: Target, proxy: str
) -> tuple[MutualTlsMode | None, tuple[Origin, ...]]:
    workload = subject.workloads.get(proxy)
    port = frontend.port(target.backend.key.port)
    behind = port_behind(frontend, port.target, workload) if port is not None and workload is not None else None
    if workload is None or behind is None:
        return None, ()
    return subject.mesh.peers.of(workload.namespace).decide(workload.labels, behind.port)


def plaintext_accepted(subject: Subject) -> Iterator[Finding]:
    """Ports that anyone may call; one finding for each document that says so."""
    found: dict[tuple[Origin, MutualTlsMode], list[str]] = {}
    for workload in subject.mesh.workloads:
        policies = subject.mesh.peers.of(workload.namespace)
        for port in workload.ports if workload.gateway is None else ():
            mode, places = policies.decide(workload.labels, port.port)
            if mode is not MutualTlsMode.STRICT:
                where = places[0] if places else Origin("")
                found.setdefault((where, mode), []).append(f"port {port.port} of {workload.name}")
    for (origin, mode), ports in found.items():
        yield finding("plaintext-accepted", f"{listed(ports)}: {mode.value.upper()}", origin=origin)


def unused_rules(subject: Subject) -> Iterator[Finding]:
    """DestinationRules that no caller's proxy goes by."""
    mesh = subject.mesh
    callers = {one.namespace for one in mesh.workloads}
    if not callers:
        return
    rules = mesh.destination_rules
    used = {id(rule) for each in mesh.catalog.frontends for caller in callers if (rule := rules.find(caller, each))}
    for document, frontend in _rules_of_services(subject):
        if id(document) not in used:
            text = f"no caller uses it for {short(frontend.host)}: another one comes first, or nobody calls from here"
            yield finding("unused-document", text, object=document.key, origin=document.origin)


def _rule_key(subject: Subject, target: Target) -> ObjectKey:
    """The DestinationRule that shaped a backend, else its service."""
    frontend = subject.mesh.catalog.by_host[target.backend.key.host]
    rule = subject.mesh.destination_rules.find("", frontend)
    return rule.key if rule is not None else target.backend.object


def _policy_origin(target: Target) -> Origin:
    return target.backend.origins[-1]


def _named(target: Target) -> str:
    key = target.backend.key
    return f"subset {key.subset} of {short(key.host)}" if key.subset else short(key.host)
