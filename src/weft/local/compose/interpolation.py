"""Variables in compose files: ``$NAME``, ``${NAME}`` and the forms with a default, an error or a replacement.

https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")
_MOST_DEPTH = 16
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")


class InterpolationError(ValueError):
    """The text cannot be filled in; the message says why."""


def interpolate(text: str, variables: Mapping[str, str], depth: int = 0) -> str:
    """`text` with its variables filled in; one that is not set is empty. InterpolationError if it cannot be."""
    if depth > _MOST_DEPTH:
        raise InterpolationError("defaults within defaults go too deep")
    found: list[str] = []
    place = 0
    while (dollar := text.find("$", place)) >= 0:
        found.append(text[place:dollar])
        rest = text[dollar + 1 :]
        if rest.startswith("$"):
            found.append("$")
            place = dollar + 2
        elif rest.startswith("{"):
            end = _closing(text, dollar + 1)
            found.append(_braced(text[dollar + 2 : end], variables, depth))
            place = end + 1
        elif name := _NAME.match(rest):
            found.append(variables.get(name[0], ""))
            place = dollar + 1 + name.end()
        else:
            raise InterpolationError(f"'${rest[:1]}' begins no variable; '$$' stands for '$'")
    return "".join((*found, text[place:]))


def _closing(text: str, opening: int) -> int:
    depth = 0
    for place in range(opening, len(text)):
        if text[place] == "{":
            depth += 1
        elif text[place] == "}":
            depth -= 1
            if not depth:
                return place
    raise InterpolationError("'${' is not closed")


def _braced(inside: str, variables: Mapping[str, str], depth: int) -> str:
    name = _NAME.match(inside)
    if name is None:
        raise InterpolationError("'${' names no variable")
    rest, value = inside[name.end() :], variables.get(name[0])
    if not rest:
        return value or ""
    operator = next((each for each in _OPERATORS if rest.startswith(each)), None)
    if operator is None:
        raise InterpolationError(f"'${{{name[0]}{rest[:1]}' is not known; expected one of {', '.join(_OPERATORS)}")
    word = rest[len(operator) :]
    there = value is not None if len(operator) == 1 else bool(value)
    if operator.endswith("+"):
        return interpolate(word, variables, depth + 1) if there else ""
    if there:
        return value or ""
    if operator.endswith("?"):
        raise InterpolationError(
            f"{name[0]} is not set" + (f": {interpolate(word, variables, depth + 1)}" if word else "")
        )
    return interpolate(word, variables, depth + 1)


def read_env_file(text: str, source: str) -> dict[str, str]:
    """The variables of an ``.env`` file. InterpolationError names the line that cannot be read."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise InterpolationError(f"{source}:{number}: expected NAME=VALUE")
        value = match[2]
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        else:
            value = re.sub(r"\s+#.*", "", value)
        found[match[1]] = value
    return found
