"""Rules between fields, by dataclass: what the specifications demand and a type cannot say."""

from __future__ import annotations

from collections.abc import Mapping

from weft.schema.findings import Rule
from weft.schema.rules import core, destinationrule, gateway, httproute, meshconfig, peerauthentication, virtualservice
from weft.schema.rules.normal_form import NORMALISERS

RULES: Mapping[type, tuple[Rule, ...]] = {
    **core.RULES,
    **gateway.RULES,
    **httproute.RULES,
    **virtualservice.RULES,
    **destinationrule.RULES,
    **peerauthentication.RULES,
    **meshconfig.RULES,
}

__all__ = ["NORMALISERS", "RULES"]
