"""Header changes as Envoy's lists of headers to add and to remove."""

from __future__ import annotations

from dataclasses import dataclass

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption

from weft.mesh.routes import HeaderChanges


@dataclass(frozen=True, slots=True)
class EnvoyHeaderChanges:
    """What Envoy's ``*_headers_to_add`` and ``*_headers_to_remove`` are given."""

    add: tuple[HeaderValueOption, ...]
    remove: tuple[str, ...]


def envoy_headers(changes: HeaderChanges) -> EnvoyHeaderChanges:
    """`changes` for Envoy, which removes first: a header that is set or added here is not removed again.

    ``host`` cannot be changed as a header (see `host_of`), so it is left out.
    """
    add = [_option(name, value, HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD) for name, value in changes.set]
    add += [_option(name, value, HeaderValueOption.APPEND_IF_EXISTS_OR_ADD) for name, value in changes.add]
    return EnvoyHeaderChanges(
        tuple(option for option in add if not _is_host(option.header.key)),
        tuple(name for name in changes.remove if not _is_host(name)),
    )


def host_of(changes: HeaderChanges) -> str:
    """The host that `changes` set, if they do: Envoy rewrites hosts by an action of its own."""
    for name, value in changes.set:
        if _is_host(name):
            return value
    return ""


def _is_host(name: str) -> bool:
    return name.lower() in ("host", ":authority")


def _option(name: str, value: str, action: HeaderValueOption.HeaderAppendAction.ValueType) -> HeaderValueOption:
    header = HeaderValue(key=name.lower(), value=value.replace("%", "%%"))
    return HeaderValueOption(header=header, append_action=action, keep_empty_value=not value)
