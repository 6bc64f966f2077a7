"""Targets: how the callers of one namespace see every service, and the destinations that documents name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import DestinationRules, RuleDocument, Target
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.service import Service


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """One Target for each service, by full name."""

    catalog: Catalog
    by_host: Mapping[str, Target]

    def find(self, host: str, namespace: str) -> Target | None:
        """The service that `host` names in a document of `namespace`."""
        return self.by_host.get(self.catalog.full_name(host, namespace))


def build_targets(memo: Memo, catalog: Catalog, rules: DestinationRules, caller: str) -> Targets:
    """The targets of callers in namespace `caller`. Namespaces without DestinationRules of their own share Targets."""
    shared = caller if caller in rules.namespaces else ""
    return memo(_build_targets, memo, catalog, rules, shared)


def _build_targets(memo: Memo, catalog: Catalog, rules: DestinationRules, caller: str) -> Targets:
    found = {host: memo(_target, service, rules.find(caller, service)) for host, service in catalog.services.items()}
    return Targets(catalog, MappingProxyType(found))


def _target(service: Service, rule: RuleDocument | None) -> Target:
    return Target(service, rule)
