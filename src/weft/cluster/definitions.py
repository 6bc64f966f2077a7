"""CustomResourceDefinitions of a cluster: the Gateway API's, of which release, and those of weft's kinds."""

from __future__ import annotations

from weft.cluster.reading import METADATA, Reader, all_of, annotations_of, member, name_of
from weft.findings.cluster.facts import DEFINITIONS, DefinitionFact
from weft.schema.definitions import DEFINED, DIGEST, schema_digest
from weft.sources.kubernetes.server_objects import Json

PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_GATEWAY = "gateway.networking.k8s.io"


async def definition_facts(reader: Reader) -> tuple[DefinitionFact, ...]:
    """Those of the Gateway API that are there, and all of weft's: one that is not there is not established, and nothing
    is stored of it."""
    found = await reader.every(PATH, DEFINITIONS, accept=METADATA)
    if DEFINITIONS in reader.unread:
        return ()
    gateway = [
        DefinitionFact(
            name_of(each),
            annotations_of(each).get(f"{_GATEWAY}/bundle-version", ""),
            annotations_of(each).get(f"{_GATEWAY}/channel", ""),
        )
        for each in found
        if name_of(each).endswith(f".{_GATEWAY}")
    ]
    there = {name_of(each) for each in found}
    names = {f"{kind.plural}.{kind.group}": kind for kind in DEFINED}
    whole = dict(zip(names, await all_of(*(_read(reader, name, there) for name in names)), strict=True))
    ours = [
        DefinitionFact(
            name,
            established=_established(whole[name]),
            stored=tuple(member(whole[name], "status", "storedVersions") or ()),
            known=kind.versions,
            same=annotations_of(whole[name]).get(DIGEST) == schema_digest(kind),
        )
        for name, kind in names.items()
    ]
    return (*gateway, *ours)


async def is_served(reader: Reader, name: str) -> bool:
    """Whether objects of a definition can be written."""
    return _established(await reader.one(f"{PATH}/{name}", DEFINITIONS))


async def _read(reader: Reader, name: str, there: set[str]) -> Json:
    return await reader.one(f"{PATH}/{name}", DEFINITIONS) if name in there else {}


def _established(definition: Json) -> bool:
    conditions = member(definition, "status", "conditions") or ()
    return any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions)
