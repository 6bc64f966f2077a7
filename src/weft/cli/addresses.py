"""The addresses of services, as `weft get -o wide` and `weft describe` show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

HEADLESS = "(instances)"
KINDS = ("Service", "ServiceEntry")


def addresses_of(services: Sequence[Mapping[str, Any]], kind: str, document: Mapping[str, Any]) -> list[str]:
    """The addresses of a document's services; of a headless one, that they are those of its instances."""
    metadata = document["metadata"]
    names = {metadata["name"]} if kind == "Service" else set(document.get("spec", {}).get("hosts", ()))
    found = [
        one
        for one in services
        if (one.get("kind"), one["namespace"]) == (kind, metadata.get("namespace")) and one["name"] in names
    ]
    told = [address for one in found for address in ([HEADLESS] if one.get("headless") else one["addresses"])]
    return list(dict.fromkeys(told))


def _addresses(spec: Mapping[str, Any]) -> Sequence[str]:
    return (",".join((spec.get("status") or {}).get("addresses") or ()) or "-",)


Columns = tuple[Sequence[str], Callable[[Mapping[str, Any]], Sequence[str]]]
WIDE: Mapping[str, Columns] = dict.fromkeys(KINDS, (("ADDRESSES",), _addresses))
"""What `-o wide` shows more of a kind."""
