"""Discovery: which of the kinds that weft reads a server has, in which version, and at which path. Pure.

https://kubernetes.io/docs/reference/using-api/api-concepts/#aggregated-discovery
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from weft.schema.kinds.core import SecretSpec
from weft.schema.kinds.meshconfig import ConfigMapSpec
from weft.schema.registry import KINDS, Kind

ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
PATHS = ("/api", "/apis")
"""The core group, and all others."""
_NEEDED = frozenset(("list", "watch"))
FOLLOWED: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind.spec not in (SecretSpec, ConfigMapSpec))
"""The kinds that are read: all but those that hold what is not the mesh's."""


class _Gvk(msgspec.Struct):
    group: str = ""
    version: str = ""
    kind: str = ""


class _Subresource(msgspec.Struct):
    subresource: str = ""


class _Resource(msgspec.Struct, rename="camel"):
    resource: str
    response_kind: _Gvk | None = None
    verbs: frozenset[str] = frozenset()
    subresources: tuple[_Subresource, ...] | None = None


class _Version(msgspec.Struct):
    version: str
    resources: tuple[_Resource, ...] = ()


class _Metadata(msgspec.Struct):
    name: str = ""


class _Group(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    versions: tuple[_Version, ...] = ()


class _Groups(msgspec.Struct):
    kind: str
    items: tuple[_Group, ...] = ()


class DiscoveryError(ValueError):
    """The answer says nothing of groups."""


@dataclass(frozen=True, slots=True)
class Served:
    """A kind that a server has. `path` is where its objects of all namespaces are listed; `has_status`: their status is
    written by itself."""

    path: str
    kind: Kind
    has_status: bool = False

    @property
    def api_version(self) -> str:
        """The version that is read."""
        return self.path.rpartition("/")[0].removeprefix("/apis/").removeprefix("/api/")

    def path_of(self, namespace: str, name: str) -> str:
        """Where one of its objects stands."""
        root, _, plural = self.path.rpartition("/")
        return f"{root}/namespaces/{namespace}/{plural}/{name}" if namespace else f"{self.path}/{name}"


@dataclass(frozen=True, slots=True)
class Found:
    """What a server has of the kinds that are read; of `unreadable` ones no version that weft knows, only the named."""

    served: tuple[Served, ...] = ()
    unreadable: tuple[tuple[Kind, tuple[str, ...]], ...] = ()


def found_from(answers: Iterable[bytes], kinds: Sequence[Kind] = FOLLOWED) -> Found:
    """What the answers at `PATHS` say. DiscoveryError if one cannot be read."""
    there: dict[tuple[str, str], dict[str, _Resource]] = {}
    for answer in answers:
        for group in _groups(answer).items:
            for version in group.versions:
                for resource in version.resources:
                    if (
                        resource.response_kind is not None
                        and resource.verbs >= _NEEDED
                        and "/" not in resource.resource
                    ):
                        names = there.setdefault((group.metadata.name, resource.response_kind.kind), {})
                        names.setdefault(version.version, resource)
    served: list[Served] = []
    unreadable: list[tuple[Kind, tuple[str, ...]]] = []
    for kind in kinds:
        names = there.get((kind.group, kind.name), {})
        chosen = next((each for each in (*kind.versions, *kind.old_versions) if each in names), None)
        if chosen is not None:
            root = f"/apis/{kind.group}" if kind.group else "/api"
            resource = names[chosen]
            has_status = any(each.subresource == "status" for each in resource.subresources or ())
            served.append(Served(f"{root}/{chosen}/{resource.resource}", kind, has_status))
        elif names:
            unreadable.append((kind, tuple(names)))
    return Found(tuple(served), tuple(unreadable))


def _groups(answer: bytes) -> _Groups:
    try:
        groups = msgspec.json.decode(answer, type=_Groups)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DiscoveryError("its list of groups cannot be read") from error
    if groups.kind != "APIGroupDiscoveryList":
        raise DiscoveryError("it has no aggregated discovery; Kubernetes 1.34 or newer is needed")
    return groups
