"""Secrets that DestinationRules refer to, in the namespaces of the proxies that they are for."""

from __future__ import annotations

from collections.abc import Iterator

from weft.mesh.services.credentials import SUFFIX, callers_of, going_outside, tls_settings
from weft.mesh.uses import PAIR, ROOTS, Surroundings, Use
from weft.model.document import ObjectKey
from weft.schema.kinds.destinationrule import DestinationRuleSpec


def credential_uses(around: Surroundings) -> Iterator[Use]:
    """Those of rules with a selector in their own namespace, and of others in that of each gateway that is told."""
    gateways = tuple(namespace for _, namespace, *_ in around.servers)
    for rule in going_outside(around.of(DestinationRuleSpec)):
        callers = callers_of(rule, gateways, around.rule_exports)
        for path, tls in tls_settings(rule):
            for namespace in callers if tls.credential_name else ():
                where = (*path, "credentialName")
                own = ObjectKey("", "Secret", namespace, tls.credential_name)
                beside = ObjectKey("", "Secret", namespace, f"{tls.credential_name}{SUFFIX}")
                yield Use(own, PAIR | ROOTS, rule, where)
                yield Use(beside, ROOTS, rule, where)
