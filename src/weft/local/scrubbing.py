"""Scrubbing: a text without what looks like a secret, for bundles that are given to others."""

from __future__ import annotations

import re
from collections.abc import Iterable

MARK = "[removed]"
_SHORTEST = 6
"""Characters; a shorter value would be found everywhere."""
_PATTERNS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"(?i)(?<=bearer )[\w.~+/=-]{8,}"),
    re.compile(r"(?i)(?<=basic )[A-Za-z0-9+/=]{8,}"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
    re.compile(r"(?i)(?<=password=)[^\s&\"']+|(?<=token=)[^\s&\"']+|(?<=secret=)[^\s&\"']+"),
    re.compile(r"(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)"),
)
"""Private keys, bearer and basic credentials, JSON web tokens, secrets in addresses."""

_WORDS = "api[-_]?key|token|secret|password|passwd|authorization|cookie|credential|private[-_]key"
_NAME = rf"(?<![\w.-])[\w.-]*(?:{_WORDS})(?![\w-])"
_QUOTE = r"\\?[\"']?"
_VALUE = r"(?!(?:true|false|null|-?[0-9.]+)\s*[,}\n])[^\s\"'\\\[{][^\"'\\\n]*"
_NAMED = (
    re.compile(rf"(?i)({_NAME}{_QUOTE}\s*[:=] *{_QUOTE}){_VALUE}"),
    re.compile(rf"(?i)({_NAME}{_QUOTE}(?:[\s+,-]|\\n){{1,80}}{_QUOTE}value{_QUOTE} *: *{_QUOTE}){_VALUE}"),
)
"""What stands behind a name that says so: in YAML, in JSON, and in a text of either within JSON; a header's name and
its value may be two members."""


def scrubbed(text: str, known: Iterable[str] = ()) -> str:
    """`text` without the `known` secrets and without what looks like one."""
    for value in known:
        if len(value) >= _SHORTEST:
            text = text.replace(value, MARK)
    for pattern in _PATTERNS:
        text = pattern.sub(MARK, text)
    for pattern in _NAMED:
        text = pattern.sub(rf"\g<1>{MARK}", text)
    return text
