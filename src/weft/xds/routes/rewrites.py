"""Path rewrites as Envoy's prefix and regular-expression rewrites, for forwarding and for redirects alike."""

from __future__ import annotations

import re
from dataclasses import dataclass

from envoy.type.matcher.v3.regex_pb2 import RegexMatchAndSubstitute

from weft.mesh.routes.rules import PathRewrite, TextMatch
from weft.xds.messages import regex
from weft.xds.routes.matches import is_root


@dataclass(frozen=True, slots=True)
class EnvoyRewrite:
    """Exactly one is set: the matched prefix is replaced by `prefix`, or every find of a pattern."""

    prefix: str = ""
    pattern: RegexMatchAndSubstitute | None = None


def envoy_rewrite(rewrite: PathRewrite, path: TextMatch | None) -> EnvoyRewrite:
    """`rewrite` for a route that matches `path`. The query string stays in all forms."""
    if rewrite.kind == "full":
        return _substitute("^/.*$", _literal(rewrite.value))
    if rewrite.kind == "regex":
        return _substitute(rewrite.pattern, rewrite.value)
    if rewrite.kind == "segment-prefix":
        return _segments(rewrite.value, path)
    if rewrite.value:
        return EnvoyRewrite(prefix=rewrite.value)
    return _substitute(f"^{_flags(path)}{quote(path.value if path is not None else '/')}/*", "/")


def _segments(value: str, path: TextMatch | None) -> EnvoyRewrite:
    """Gateway API's ReplacePrefixMatch: whole segments, and slashes where the parts meet count once.

    ``/foo`` to ``/bar`` is a plain prefix rewrite. To ``/`` (or nothing) the slash after the prefix must go as well.
    """
    target = value.rstrip("/")
    if is_root(path):
        return EnvoyRewrite(prefix=f"{target}/")
    if target:
        return EnvoyRewrite(prefix=target)
    prefix = path.value.rstrip("/") if path is not None else ""
    return _substitute(f"^{_flags(path)}{quote(prefix)}/*", "/")


def _flags(path: TextMatch | None) -> str:
    return "(?i)" if path is not None and path.ignore_case else ""


def quote(text: str) -> str:
    """`text` so that RE2 takes it literally. Python escapes more than RE2 knows; what both know is punctuation."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)


def _literal(text: str) -> str:
    """`text` as a substitution without references."""
    return text.replace("\\", "\\\\")


def _substitute(pattern: str, substitution: str) -> EnvoyRewrite:
    return EnvoyRewrite(pattern=RegexMatchAndSubstitute(pattern=regex(pattern), substitution=substitution))
