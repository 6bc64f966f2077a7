"""Header changes as Envoy's lists of headers to add and to remove."""

from __future__ import annotations

from dataclasses import dataclass

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption

from weft.mesh.routes.rules import HeaderChanges

NOT_DELIVERED = "x-weft-not-delivered"
"""On the response of a proxy that could not connect to its application: the caller's proxy may try another instance. It
passes between two proxies only; both remove it from what others say."""


@dataclass(frozen=True, slots=True)
class EnvoyHeaderChanges:
    """What Envoy's ``*_headers_to_add`` and ``*_headers_to_remove`` are given."""

    add: tuple[HeaderValueOption, ...]
    remove: tuple[str, ...]


def envoy_headers(*changes: HeaderChanges) -> EnvoyHeaderChanges:
    """`changes`, one after the other, for Envoy, which always removes first: what is set and then removed is left out.

    ``host`` cannot be changed as a header (see `host_of`), so it is left out too.
    """
    add: list[HeaderValueOption] = []
    remove: dict[str, None] = {}
    for each in changes:
        add += [_option(name, value, HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD) for name, value in each.set]
        add += [_option(name, value, HeaderValueOption.APPEND_IF_EXISTS_OR_ADD) for name, value in each.add]
        gone = {name.lower(): None for name in each.remove if not _is_host(name)}
        add = [option for option in add if option.header.key not in gone]
        remove |= gone
    return EnvoyHeaderChanges(tuple(option for option in add if not _is_host(option.header.key)), tuple(remove))


def host_of(*changes: HeaderChanges) -> str:
    """The host that `changes` set, if they do: Envoy rewrites hosts by an action of its own."""
    hosts = [value for each in changes for name, value in each.set if _is_host(name)]
    return hosts[-1] if hosts else ""


def _is_host(name: str) -> bool:
    return name.lower() in ("host", ":authority")


def _option(name: str, value: str, action: HeaderValueOption.HeaderAppendAction.ValueType) -> HeaderValueOption:
    header = HeaderValue(key=name.lower(), value=value.replace("%", "%%"))
    return HeaderValueOption(header=header, append_action=action, keep_empty_value=not value)
