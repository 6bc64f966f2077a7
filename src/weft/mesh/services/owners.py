"""Owners: which of several ServiceEntries of one host have it, and for whose callers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from weft.mesh.memo import Memo
from weft.mesh.problems import problem_at
from weft.mesh.services.exports import ALL_NAMESPACES, NOBODY, Exports, is_exported
from weft.mesh.services.service import Frontend
from weft.model.document import Document
from weft.model.problem import Problem
from weft.schema.hosts import is_wildcard
from weft.schema.kinds.serviceentry import ServiceEntrySpec

ServiceEntryDocument = Document[ServiceEntrySpec]
_LONGEST = 253
"""Characters of the name of a host."""


@dataclass(frozen=True, slots=True, eq=False)
class Claimant:
    """A frontend of a host, and the place in its document where that stands."""

    frontend: Frontend
    document: ServiceEntryDocument
    index: int


def share_host(memo: Memo, claimants: Sequence[Claimant]) -> tuple[list[Claimant], list[Problem]]:
    """Those of the `claimants` of one host, oldest first, that have it for somebody, and what is wrong with the others.

    Callers of a namespace mean by it the oldest of their own namespace, else the oldest that they are told of. So each
    namespace may have its own, and nobody takes a host from another namespace by what is not exported there. The
    oldest has the host as its full name, so that a new document never changes what the name of a cluster means; others
    get a name of their own. A wildcard is never shared: the oldest has it.
    """
    first = claimants[0]
    if is_wildcard(first.frontend.host):
        return [first], [taken_problem(each.document, each.index, first.frontend) for each in claimants[1:]]
    meant = _meant(claimants)
    places = [tuple(name for name, one in meant.items() if one is each) for each in claimants]
    for_all = next((each for each in claimants if not each.frontend.exports), None)
    shared: list[Claimant] = []
    problems: list[Problem] = []
    for each, where in zip(claimants, places, strict=True):
        if each in (first, for_all) or where:
            exports = ALL_NAMESPACES if each is for_all else where or NOBODY
            host = each.frontend.host if each is first else _own_name(each.frontend)
            shared.append(replace(each, frontend=memo(_named, memo, each.frontend, host, exports)))
        wanted = each.frontend.exports
        if each is not for_all and wanted != NOBODY and (wanted == ALL_NAMESPACES or wanted != where):
            owner = _before(each, claimants, meant, for_all or first)
            problems.append(taken_problem(each.document, each.index, owner.frontend, where))
    return shared, problems


def _meant(claimants: Sequence[Claimant]) -> dict[str, Claimant]:
    """Which one callers mean, by namespace, sorted: of each namespace that any of them names or stands in."""
    named = {name for each in claimants for name in (*each.frontend.exports, each.frontend.namespace)}
    found: dict[str, Claimant] = {}
    for name in sorted(named - {*NOBODY}):
        seen = [each for each in claimants if is_exported(each.frontend.exports, name)]
        if seen:
            found[name] = next((each for each in seen if each.frontend.namespace == name), seen[0])
    return found


def _before(one: Claimant, claimants: Sequence[Claimant], meant: dict[str, Claimant], other: Claimant) -> Claimant:
    """The one that callers mean in place of this one."""
    others = [meant[name] for name in one.frontend.exports if name in meant and meant[name] is not one]
    return next((each for each in claimants if each in others), other)


def _own_name(frontend: Frontend) -> str:
    """A full name that no other frontend has, and no host is called by: a colon stands in it. Agents take none that is
    longer than a host may be."""
    name = f"{frontend.namespace}:{frontend.key.name}:{frontend.host}"
    if len(name) <= _LONGEST:
        return name
    return f"{sha256(name.encode()).hexdigest()}:{frontend.host[-(_LONGEST - 65) :]}"


def _named(_memo: Memo, frontend: Frontend, host: str, exports: Exports) -> Frontend:
    """A frontend for callers of some namespaces, with a full name."""
    return replace(frontend, host=host, exports=exports, alias=frontend.host)


def taken_problem(
    document: ServiceEntryDocument, index: int, owner: Frontend, namespaces: tuple[str, ...] = ()
) -> Problem:
    """A host that is another's, but for callers of these `namespaces`."""
    host = document.spec.hosts[index]
    where = f"in force for callers of {', '.join(namespaces)} only" if namespaces else "not in force for it"
    message = f"{owner.key} ({owner.origin}) already is '{host}', so this document is {where}"
    expected = "a host that no Service and no older ServiceEntry has, or the ports joined in one document"
    return problem_at(document, ("spec", "hosts", index), "host-conflict", message, expected)
