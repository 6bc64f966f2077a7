"""Rules of DestinationRule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.model.origin import FieldPath
from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing, no_effect
from weft.schema.kinds.destinationrule import (
    ClientTls,
    ConsistentHash,
    DestinationRuleSpec,
    LoadBalancer,
    Maglev,
    OutlierDetection,
    TrafficPolicy,
)
from weft.schema.rules import locality

_MAX_MAGLEV = 5_000_011
_MAX_RING = 8 * 1024 * 1024


def destination_rule(spec: DestinationRuleSpec) -> Iterator[Finding]:
    """Subsets have names of their own."""
    names: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        if subset.name in names:
            yield duplicate(("subsets", index, "name"), f"the subset '{subset.name}' is given twice")
        names.add(subset.name)


def failover(spec: DestinationRuleSpec) -> Iterator[Finding]:
    """An order by places needs callers that see which instances fail. A subset has what its host has, where it says
    nothing of its own."""
    host = spec.traffic_policy
    policies: list[tuple[FieldPath, TrafficPolicy, TrafficPolicy | None]] = []
    if host is not None:
        policies.append((("trafficPolicy",), host, None))
    policies += [
        (("subsets", index, "trafficPolicy"), subset.traffic_policy, host)
        for index, subset in enumerate(spec.subsets)
        if subset.traffic_policy is not None
    ]
    for path, policy, above in policies:
        detection = policy.outlier_detection or (above.outlier_detection if above else None)
        yield from _ordered_in_vain(path, policy.load_balancer, detection)
        for index, port in enumerate(policy.port_level_settings):
            where = (*path, "portLevelSettings", index)
            yield from _ordered_in_vain(where, port.load_balancer, port.outlier_detection)


def _ordered_in_vain(
    path: FieldPath, balancer: LoadBalancer | None, detection: OutlierDetection | None
) -> Iterator[Finding]:
    setting = balancer.locality_lb_setting if balancer else None
    if setting is None or detection is not None or setting.enabled is False:
        return
    for name, given in (("failover", setting.failover), ("failoverPriority", setting.failover_priority)):
        if given:
            message = f"'{name}' has no effect without outlierDetection: callers would not see which instances fail"
            yield no_effect((*path, "loadBalancer", "localityLbSetting", name), message, "outlierDetection beside it")


def traffic_policy(spec: TrafficPolicy) -> Iterator[Finding]:
    """One policy per port."""
    ports: set[int] = set()
    for index, each in enumerate(spec.port_level_settings):
        if each.port.number in ports:
            yield duplicate(("portLevelSettings", index, "port"), f"port {each.port.number} is given twice")
        ports.add(each.port.number)


def consistent_hash(spec: ConsistentHash) -> Iterator[Finding]:
    """One algorithm at most; its table within Envoy's limits."""
    if spec.ring_hash is not None and spec.maglev is not None:
        yield conflicting(("maglev",), "ringHash and maglev exclude each other", "one of them")
    if spec.use_source_ip is False:
        yield missing(("useSourceIp",), "nothing to hash", "true, or another key")
    if spec.ring_hash is not None and not 1 <= spec.ring_hash.minimum_ring_size <= _MAX_RING:
        yield _out_of_range(("ringHash", "minimumRingSize"), spec.ring_hash.minimum_ring_size, f"1 to {_MAX_RING}")


def maglev(spec: Maglev) -> Iterator[Finding]:
    """Maglev's table has a prime number of places."""
    size = spec.table_size
    if not 2 <= size <= _MAX_MAGLEV:
        yield _out_of_range(("tableSize",), size, f"a prime number up to {_MAX_MAGLEV}")
    elif any(size % divisor == 0 for divisor in range(2, int(size**0.5) + 1)):
        yield Finding(("tableSize",), f"found {size}", "a prime number, such as 65537")


def outlier_detection(spec: OutlierDetection) -> Iterator[Finding]:
    """Local failures are counted apart only when they are split from the others."""
    if spec.consecutive_local_origin_failures is not None and not spec.split_external_local_origin_errors:
        yield missing(
            ("consecutiveLocalOriginFailures",),
            "it has no effect without 'splitExternalLocalOriginErrors: true'",
            "splitExternalLocalOriginErrors",
        )


def load_balancer(spec: LoadBalancer) -> Iterator[Finding]:
    """Endpoints warm up where shares can be weighed."""
    field = "warmup" if spec.warmup is not None else "warmupDurationSecs"
    if spec.warmup is None and spec.warmup_duration_secs is None:
        return
    if spec.warmup is not None and spec.warmup_duration_secs is not None:
        yield conflicting(("warmupDurationSecs",), "warmup and warmupDurationSecs exclude each other", "warmup")
    if spec.consistent_hash is not None or spec.simple == "RANDOM":
        yield conflicting((field,), "no share can be weighed with this algorithm", "ROUND_ROBIN or LEAST_REQUEST")


def client_tls(spec: ClientTls) -> Iterator[Finding]:
    """What goes together: what Istio refuses, and files of a proxy's machine, which no document may name."""
    if spec.ca_certificates not in ("", "system"):
        why = "no document names files of a proxy's machine"
        yield conflicting(("caCertificates",), why, "'system', or credentialName with a Secret that has ca.crt")
    if not _is_name(spec.sni):
        yield Finding(("sni",), "it is no server name", "a name such as api.example.com")
    for index, name in enumerate(spec.subject_alt_names):
        if not _is_name(name):
            yield Finding(
                ("subjectAltNames", index), "it is no name of a certificate", "a DNS name, a URI or an address"
            )
    outside = spec.mode in ("SIMPLE", "MUTUAL")
    if spec.mode == "MUTUAL" and not spec.credential_name:
        yield missing((), "MUTUAL needs a certificate to show", "credentialName")
    if not outside:
        yield from _only_outside(spec)
    if spec.credential_name and spec.ca_certificates:
        yield conflicting(("caCertificates",), "credentialName brings its own authorities", "one of them")
    if spec.insecure_skip_verify and outside:
        if spec.subject_alt_names:
            yield conflicting(("subjectAltNames",), "insecureSkipVerify checks no name", "one of them")
        if spec.ca_certificates or (spec.credential_name and spec.mode == "SIMPLE"):
            field = "caCertificates" if spec.ca_certificates else "credentialName"
            yield conflicting((field,), "insecureSkipVerify checks no certificate", "one of them")


def _is_name(text: str) -> bool:
    """Letters that a certificate's names have; Envoy refuses server names of more than 255 bytes."""
    return text.isascii() and text.isprintable() and " " not in text


def _only_outside(spec: ClientTls) -> Iterator[Finding]:
    given = {
        "credentialName": spec.credential_name,
        "caCertificates": spec.ca_certificates,
        "insecureSkipVerify": spec.insecure_skip_verify,
    }
    if spec.mode == "DISABLE":
        given |= {"sni": spec.sni, "subjectAltNames": spec.subject_alt_names}
    for field, value in given.items():
        if value:
            yield conflicting((field,), f"mode {spec.mode} does not take it", "mode SIMPLE or MUTUAL")


def _out_of_range(path: tuple[str, ...], found: int, expected: str) -> Finding:
    return Finding(path, f"found {found}", expected, code="out-of-range")


RULES: Mapping[type, tuple[Rule, ...]] = {
    DestinationRuleSpec: (
        destination_rule,
        failover,
    ),
    TrafficPolicy: (traffic_policy,),
    ConsistentHash: (consistent_hash,),
    Maglev: (maglev,),
    OutlierDetection: (outlier_detection,),
    ClientTls: (client_tls,),
    LoadBalancer: (load_balancer, locality.alone),
}
