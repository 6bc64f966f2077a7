"""Rules of DestinationRule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing
from weft.schema.kinds.destinationrule import (
    ConsistentHash,
    DestinationRuleSpec,
    Maglev,
    OutlierDetection,
    TrafficPolicy,
)

_MAX_MAGLEV = 5_000_011
_MAX_RING = 8 * 1024 * 1024


def destination_rule(spec: DestinationRuleSpec) -> Iterator[Finding]:
    """Subsets have names of their own."""
    names: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        if subset.name in names:
            yield duplicate(("subsets", index, "name"), f"the subset '{subset.name}' is given twice")
        names.add(subset.name)


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


def _out_of_range(path: tuple[str, ...], found: int, expected: str) -> Finding:
    return Finding(path, f"found {found}", expected, code="out-of-range")


RULES: Mapping[type, tuple[Rule, ...]] = {
    DestinationRuleSpec: (destination_rule,),
    TrafficPolicy: (traffic_policy,),
    ConsistentHash: (consistent_hash,),
    Maglev: (maglev,),
    OutlierDetection: (outlier_detection,),
}
