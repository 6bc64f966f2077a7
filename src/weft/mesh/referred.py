"""Which Secrets and ConfigMaps documents refer to: the one list of what the mesh looks up of these kinds.

Where they are read one by one, nothing else of them is read. A reference that the mesh refuses is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import cast

from weft.mesh.gateways.referred import api_gateway_uses, istio_gateway_uses, parameter_uses
from weft.mesh.gateways.serving import servers_of
from weft.mesh.memo import Memo
from weft.mesh.policies.meshconfig import build_settings, settings_documents
from weft.mesh.policies.referencegrant import build_grants
from weft.mesh.policies.referred import authority_uses, guard_uses
from weft.mesh.services.referred import credential_uses
from weft.mesh.uses import Referred, Surroundings, Use
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.model.snapshot import ConfigSnapshot
from weft.schema.kinds.core import NamespaceSpec
from weft.schema.kinds.gateway import ReferenceGrantSpec
from weft.schema.kinds.meshconfig import MeshConfigSpec

SETTINGS = "istio"
"""The ConfigMap in the root namespace where Istio has mesh-wide settings: nobody has to name it."""
_MISSING = frozenset(("unknown-secret", "unknown-authority", "no-authority", "no-client-authority"))
_USES: tuple[Callable[[Surroundings], Iterator[Use]], ...] = (
    api_gateway_uses,
    istio_gateway_uses,
    parameter_uses,
    credential_uses,
    guard_uses,
    authority_uses,
)


def referred(snapshot: ConfigSnapshot, memo: Memo) -> tuple[Referred, ...]:
    """What a snapshot refers to: the mesh-wide settings first, then what the oldest documents name.

    `memo` is the caller's own, for this alone. `memo.begin()` before.
    """
    around = _surroundings(snapshot, memo)
    found: dict[ObjectKey, list[Use]] = {}
    for use in sorted((use for find in _USES for use in find(around)), key=lambda use: use.document.precedence):
        found.setdefault(use.key, []).append(use)
    named = tuple(_joined(key, uses) for key, uses in found.items())
    root = snapshot.settings.root_namespace
    if any(document.key.namespace == root for document in around.of(MeshConfigSpec)):
        return named  # it wins over what a ConfigMap says
    settings = ObjectKey("", "ConfigMap", root, SETTINGS)
    return (Referred(settings, None), *(each for each in named if each.key != settings))


def without_unread(problems: Iterable[Problem], before: ConfigSnapshot, after: ConfigSnapshot) -> tuple[Problem, ...]:
    """The problems of the mesh of `after`, without what documents miss that refer to something which those of `before`
    do not: where Secrets are read as they are needed, nothing is known of it."""
    if not after.settings.secrets_as_needed:
        return tuple(problems)
    known = {each.key for each in referred(before, _fresh_memo())}
    unread = [each for each in referred(after, _fresh_memo()) if each.key not in known]
    asking = {document.key for each in unread for document, _ in each.places}
    return tuple(each for each in problems if each.code not in _MISSING or each.object not in asking)


def _fresh_memo() -> Memo:
    memo = Memo()
    memo.begin()
    return memo


def _surroundings(snapshot: ConfigSnapshot, memo: Memo) -> Surroundings:
    kinds = memo.groups(_kind, _order, snapshot.documents)
    wide = build_settings(settings_documents(snapshot.documents), snapshot.settings)
    namespaces = cast("tuple[Document[NamespaceSpec], ...]", kinds.get(NamespaceSpec, ()))
    grants = cast("tuple[Document[ReferenceGrantSpec], ...]", kinds.get(ReferenceGrantSpec, ()))
    return Surroundings(
        memo,
        kinds,
        memo.over(build_grants, grants),
        servers_of(memo, snapshot.workloads),
        {document.key.name: document.labels for document in namespaces},
        wide.spec.default_destination_rule_export_to,
    )


def _joined(key: ObjectKey, uses: list[Use]) -> Referred:
    places: dict[tuple[int, FieldPath], tuple[Document[object], FieldPath]] = {}
    for use in uses:
        places.setdefault((id(use.document), use.path), (use.document, use.path))
    entries: set[str] = set()
    for use in uses:
        if use.entries is None:
            return Referred(key, None, tuple(places.values()))
        entries |= use.entries
    return Referred(key, frozenset(entries), tuple(places.values()))


def _kind(document: Document[object]) -> tuple[type[object], ...]:
    return (type(document.spec),)


def _order(document: Document[object]) -> tuple[str, str]:
    return (document.key.namespace, document.key.name)
