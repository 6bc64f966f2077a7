"""Quantities of Kubernetes: 100m, 0.5, 192Mi.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,2}))?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = "KMGTPE"


def quantity(text: str) -> Decimal | None:
    """The number that `text` stands for; None unless it is a quantity of at least 0."""
    found = _QUANTITY.fullmatch(text) if len(text) <= 64 else None
    if found is None:
        return None
    number, suffix, exponent = found.groups()
    value = Decimal(number)
    if exponent:
        return value.scaleb(int(exponent))
    if not suffix:
        return value
    if suffix.endswith("i"):
        return value * Decimal(1024) ** (_BINARY.index(suffix[0]) + 1)
    return value.scaleb(_DECIMAL[suffix])
