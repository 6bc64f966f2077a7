"""A finding: something that is, or may go, wrong, with the command that mends it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.findings.catalogue.lookup import entry_of, page_of
from weft.model.document import ObjectKey, key_mapping
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity

NOWHERE = Origin("")
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """`code` is one of the catalogue. `about` names what it is about where that is no object: a workload, a proxy, a
    file. `fix` is a command line for a shell."""

    severity: Severity
    code: str
    message: str
    object: ObjectKey | None = None
    about: str = ""
    origin: Origin = NOWHERE
    fix: str = ""

    @property
    def order(self) -> tuple[int, str, str, str]:
        """Errors first, then by the code's number (what documents say before what the traffic shows of it) and by what
        it is about."""
        entry = entry_of(self.code)
        number = entry.number if entry is not None else ""
        return (_ORDER[self.severity], number, str(self.object or self.about), self.message)


def finding(
    code: str,
    message: str,
    *,
    object: ObjectKey | None = None,  # noqa: A002 - the name it has in Problems
    about: str = "",
    origin: Origin = NOWHERE,
    severity: Severity | None = None,
    **names: str,
) -> Finding:
    """A finding with the severity and the fix of its entry; `names` are for the fix, beside those of `object`."""
    entry = entry_of(code)
    if entry is None:
        raise ValueError(f"{code} is not in the catalogue")
    given = {**_names(object, origin), **names}
    fix = _filled(entry.fix, given) if entry.fix else edit_command(object, origin)
    return Finding(severity or Severity(entry.severity), code, message, object, about, origin, fix)


def finding_from_problem(problem: Problem, followed: frozenset[ObjectKey] = frozenset()) -> Finding:
    """A Problem as a finding. Objects that are `followed` are in force when their file is saved."""
    entry = entry_of(problem.code)
    message = problem.message
    if problem.expected:
        message += f"; expected {problem.expected}"
    if problem.nearest:
        message += f"; did you mean '{problem.nearest}'?"
    about = problem.origin.source if problem.object is None else ""
    workload = about.rpartition(" ")[2].partition(".")[0].rpartition("/")[2]
    names = {**_names(problem.object, problem.origin), "workload": workload, "proxy": about.rpartition(" ")[2]}
    template = entry.fix if entry is not None else ""
    saved = problem.object in followed
    fix = _filled(template, names) if template else edit_command(problem.object, problem.origin, saved=saved)
    return Finding(problem.severity, problem.code, message, problem.object, about, problem.origin, fix)


def edit_command(key: ObjectKey | None, origin: Origin, *, saved: bool = False) -> str:
    """The command that opens a document at its line and applies it; a followed file is in force when it is `saved`."""
    source = origin.source
    is_file = source.endswith((".yaml", ".yml", ".json"))
    if is_file:
        path = shlex.quote(source)
        line = f"+{origin.line} " if origin.line else ""
        return f"${{EDITOR:-vi}} {line}{path}" + ("" if saved else f" && weft apply -f {path} --wait")
    if key is None:
        return ""
    where = f" -n {shlex.quote(key.namespace)}" if key.namespace else ""
    file = shlex.quote(f"{key.name}.yaml")
    get = f"weft get {key.kind.lower()} {shlex.quote(key.name)}{where} -o yaml > {file}"
    return f"{get} && ${{EDITOR:-vi}} {file} && weft apply -f {file} --wait"


def _names(key: ObjectKey | None, origin: Origin) -> dict[str, str]:
    names = {"source": origin.source}
    if key is not None:
        names |= {"kind": key.kind.lower(), "name": key.name, "namespace": key.namespace or "default"}
    return names


def _filled(template: str, names: Mapping[str, str]) -> str:
    """A command with names in their places; a place without a name shows what belongs there."""
    text = template
    for place in ("kind", "name", "namespace", "workload", "proxy", "source"):
        value = names.get(place) or place.upper()
        text = text.replace(f"{{{place}}}", value if f"/{{{place}}}" in template else shlex.quote(value))
    return text


def finding_mapping(one: Finding) -> dict[str, Any]:
    """A finding as the API and ``-o json`` show it."""
    entry = entry_of(one.code)
    return {
        "code": one.code,
        "number": entry.number if entry is not None else "",
        "severity": str(one.severity),
        "message": one.message,
        "object": key_mapping(one.object) if one.object is not None else None,
        "about": one.about,
        "source": str(one.origin) if one.origin.source else "",
        "fix": one.fix,
        "page": page_of(one.code),
    }
