"""Paths and hosts as policies see them: what Envoy makes of those of a request before any rule looks at them.

As the HTTP connection manager is set (`weft.xds.http_connection_manager`): escaped slashes are refused, dot segments
(with path parameters, too) resolved, slashes merged, and the query does not count. A real Envoy is the judge:
`tests/envoy_facts/test_paths.py`.
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/http_conn_man#path-normalization
"""

from __future__ import annotations

import re

_ESCAPED_SLASH = re.compile(r"%2f|%5c", re.IGNORECASE)
_ESCAPE = re.compile(r"%([0-9a-fA-F]{2})|%")
_UNRESERVED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
_DOTS = (".", "..")
_STRAY = "\0"
"""A percent sign that begins no escape, until it is known what comes after it."""
_STRAY_BEFORE_HEX = re.compile(f"{_STRAY}(?=[0-9a-fA-F]{{2}})")
_ESCAPED = str.maketrans({sign: f"%{ord(sign):02X}" for sign in '"<>^`{|}'})


def normalised_path(target: str) -> str | None:
    """The path of a request target (which may have a query), or None where the proxy answers 400."""
    path = target.partition("?")[0]
    if not path.startswith("/") or "#" in target or _ESCAPED_SLASH.search(path) or "%00" in path:
        return None
    if not path.isascii() or any(sign <= " " or sign == "\x7f" for sign in path):
        return None
    segments: list[str] = []
    raw = "/".join(_without_parameters(part) for part in path.split("/")).replace("\\", "/").split("/")[1:]
    for index, part in enumerate(raw):
        text = _written(part)
        if text not in _DOTS:
            segments.append(text)
            continue
        if text == ".." and segments:
            segments.pop()
        if index == len(raw) - 1:
            segments.append("")
    if len(segments) > 1 and not any(segments):
        return "//"
    return re.sub("/{2,}", "/", "/" + "/".join(segments))


def host_as_asked(host: str) -> str:
    """A host (with its port, if one is written) without the dot at the end of its name."""
    name, colon, port = host.rpartition(":")
    if colon and (not port or port.isdecimal()):
        return f"{name.removesuffix('.')}:{port}"
    return host.removesuffix(".")


def _without_parameters(segment: str) -> str:
    """A dot segment as it is written, without parameters; Envoy takes those off before it looks at escapes."""
    name = segment.partition(";")[0]
    return name if name in _DOTS else segment


def _written(segment: str) -> str:
    """A segment with no escape that need not be one, and with those that must be."""
    text = _ESCAPE.sub(_unescaped, segment)
    return _STRAY_BEFORE_HEX.sub("%25", text).replace(_STRAY, "%").translate(_ESCAPED)


def _unescaped(found: re.Match[str]) -> str:
    if found[1] is None:
        return _STRAY
    value = int(found[1], 16)
    return chr(value) if value in _UNRESERVED else found[0]
