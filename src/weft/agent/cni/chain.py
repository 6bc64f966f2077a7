"""The entry of weft's plugin in the list of plugins by which a runtime makes the pods' network: put in, and taken out.

https://www.cni.dev/docs/spec/#section-1-network-configuration-format
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from weft.agent.cni.requests import CAPABILITY

TYPE = "weft-cni"
"""The name of the program, and so of the plugin."""
_ENDINGS = (".conf", ".conflist", ".json")
_PLUGINS = "plugins"


class ChainError(Exception):
    """A file that no plugin can be put into; the message says why, and what is expected."""


def entry_text(socket: Path) -> str:
    """The entry, for a node whose agent listens there."""
    return json.dumps({"type": TYPE, "capabilities": {CAPABILITY: True}, "socket": str(socket)})


def configurations(directory: Path) -> list[Path]:
    """The files that a runtime reads, the one that it takes first. OSError."""
    return sorted(each for each in directory.iterdir() if each.suffix in _ENDINGS and not each.name.startswith("."))


def with_entry(text: str, entry: str) -> str:
    """The list with this entry as its last, and no other of weft; all else stays as it is written. ChainError."""
    text = without_entry(text)
    value = _decoded(text)
    wanted = {**value, _PLUGINS: [*value[_PLUGINS], json.loads(entry)]}
    end = len(text)
    while (end := text.rfind("]", 0, end)) >= 0:
        place = len(text[:end].rstrip())
        made = f"{text[:place]}, {entry}{text[place:]}"
        if _is(made, wanted):
            return made
    raise ChainError("its list of plugins is not found again in its text")


def without_entry(text: str) -> str:
    """The list without weft's entries: as it was written, if nobody has written it anew since. ChainError."""
    value = _decoded(text)
    kept = [each for each in value[_PLUGINS] if not _is_ours(each)]
    if len(kept) == len(value[_PLUGINS]):
        return text
    wanted = {**value, _PLUGINS: kept}
    for ours in value[_PLUGINS]:
        made = text.replace(f", {json.dumps(ours)}", "", 1)
        if _is(made, wanted):
            return made
    return json.dumps(wanted, indent=2) + "\n"


def has_entry(text: str | bytes) -> bool:
    """Whether a list has an entry of weft; one that cannot be read has none."""
    try:
        return any(map(_is_ours, _decoded(text)[_PLUGINS]))
    except ChainError:
        return False


def _decoded(text: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ChainError(f"it is no JSON: {error}") from error
    plugins = value.get(_PLUGINS) if isinstance(value, dict) else None
    if not isinstance(plugins, list) or not plugins or not all(isinstance(each, dict) for each in plugins):
        raise ChainError(
            "it is no list of plugins, so that none can follow another; expected a .conflist with a field 'plugins'"
        )
    return dict(value)


def _is(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return bool(json.loads(text) == wanted)
    except ValueError:
        return False


def _is_ours(plugin: Any) -> bool:
    return isinstance(plugin, dict) and plugin.get("type") == TYPE
