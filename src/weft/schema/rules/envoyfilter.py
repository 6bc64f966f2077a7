"""Rules of EnvoyFilter: which operations a thing has, and which of them need a value or a neighbour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, conflicting, missing
from weft.schema.kinds.envoyfilter import ConfigPatch

_INSERTS = ("INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST")
_OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "LISTENER": ("MERGE", "REMOVE"),
    "FILTER_CHAIN": ("MERGE", "REMOVE"),
    "NETWORK_FILTER": ("MERGE", "ADD", "REMOVE", "REPLACE", *_INSERTS),
    "HTTP_FILTER": ("MERGE", "ADD", "REMOVE", "REPLACE", *_INSERTS),
    "ROUTE_CONFIGURATION": ("MERGE",),
    "VIRTUAL_HOST": ("MERGE", "ADD", "REMOVE"),
    "HTTP_ROUTE": ("MERGE", "ADD", "REMOVE", *_INSERTS),
    "CLUSTER": ("MERGE", "ADD", "REMOVE"),
}
_OF = {
    "LISTENER": "listener",
    "FILTER_CHAIN": "listener",
    "NETWORK_FILTER": "listener",
    "HTTP_FILTER": "listener",
    "ROUTE_CONFIGURATION": "route_configuration",
    "VIRTUAL_HOST": "route_configuration",
    "HTTP_ROUTE": "route_configuration",
    "CLUSTER": "cluster",
}
_JSON = {"listener": "listener", "route_configuration": "routeConfiguration", "cluster": "cluster"}


def operation(spec: ConfigPatch) -> Iterator[Finding]:
    """What can be done with a thing."""
    allowed, found = _OPERATIONS[spec.apply_to], spec.patch.operation
    if found not in allowed:
        why = "weft opens no listener that a document does not name" if spec.apply_to == "LISTENER" else ""
        message = f"{spec.apply_to} has no {found}" + (f": {why}" if why and found == "ADD" else "")
        yield Finding(("patch", "operation"), message, f"one of {', '.join(allowed)}")
    if found == "REMOVE" and spec.patch.value is not None:
        yield conflicting(("patch", "value"), "what is removed needs no value", "no value")
    if found != "REMOVE" and spec.patch.value is None:
        yield missing(("patch",), "the field 'value' is missing", "a message of Envoy's API")


def matched(spec: ConfigPatch) -> Iterator[Finding]:
    """Conditions are on what the patch is for."""
    wanted = _OF[spec.apply_to]
    for name, written in _JSON.items():
        if name != wanted and getattr(spec.match, name) is not None:
            message = f"{spec.apply_to} is no part of a {written}"
            yield conflicting(("match", written), message, f"match.{_JSON[wanted]}")


RULES: Mapping[type, tuple[Rule, ...]] = {ConfigPatch: (operation, matched)}
