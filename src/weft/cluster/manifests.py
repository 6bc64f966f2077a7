"""The objects of an installation: what the chart makes of its switches, with an installation's texts in their places.

`manifests.json` is rendered from the chart by ``./run chart``: each object with the combinations of switches that it is
in, and a placeholder wherever a text of the installation stands.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import msgspec

from weft import __version__
from weft.cluster.reading import labels_of, member
from weft.cluster.rights import Right, rights_of
from weft.model.revisions import DEFAULT, USUAL, Revision, is_revision
from weft.schema.definitions import DEFINED, definition
from weft.sources.kubernetes.server_objects import Json

DEFAULT_NAMESPACE = "weft-system"
FILE = "manifests.json"
ACCOUNT = "weft"
"""What the ServiceAccount of the control plane is called, before the suffix of its revision."""
ENFORCE = "pod-security.kubernetes.io/enforce"
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ENDINGS = ("admin", "authority", "edit", "operate", "references", "view")
"""What the names of a revision's further ClusterRoles end with, so that another cannot be called so."""
_IMAGE = re.compile(
    r"(?P<repository>[a-z0-9][-a-z0-9._/]*(?::[0-9]{1,5}(?=/)[-a-z0-9._/]*)?)(?::(?P<tag>[\w][-\w.]{0,127}))?"
)


class ManifestError(ValueError):
    """A setting of an installation that cannot be; the message names it and says what is expected."""


@dataclass(frozen=True, slots=True)
class Features:
    """What can be switched: sidecars, processes of Gateways (which need the image of sidecars), the check of documents
    before they are written, and whether nodes capture pods, by a CNI plugin."""

    injection: bool = True
    gateways: bool = True
    validation: bool = True
    cni: bool = False

    @property
    def contradiction(self) -> str:
        """What of it needs something that is switched off, and what to do; empty: nothing."""
        if self.gateways and not self.injection:
            return "gateways need the image of sidecars; expected --no-gateways beside --no-injection"
        if self.cni and not self.injection:
            return "nodes capture pods with sidecars; expected no --cni beside --no-injection"
        return ""

    @property
    def combination(self) -> str:
        """The combination of switches, as `manifests.json` calls it."""
        named = (("i", self.injection), ("g", self.gateways), ("v", self.validation), ("c", self.cni))
        return "".join(letter for letter, on in named if on)


@dataclass(frozen=True, slots=True)
class Settings:
    """An installation. `image` is the control plane's, `sidecar_image` that of sidecars and `cni_image` that of the
    nodes' agent, with tags. `replicas` is the number of control planes, which labels call `revision` or one of
    `revision_tags`."""

    namespace: str = DEFAULT_NAMESPACE
    image: str = ""
    sidecar_image: str = ""
    cni_image: str = ""
    pull_policy: str = "IfNotPresent"
    trust_domain: str = "cluster.local"
    gateway_service: str = "LoadBalancer"
    gateway_replicas: str = "1-5"
    replicas: int = 1
    features: Features = Features()
    revision: str = DEFAULT
    revision_tags: tuple[str, ...] = ()

    @property
    def names(self) -> Revision:
        """What labels call the control plane."""
        return Revision(self.revision, self.revision_tags)


PLACEHOLDERS: Mapping[str, str] = {
    "namespace": "weft-namespace",
    "image": "weft.invalid/image:tag",
    "sidecar_image": "weft.invalid/sidecar:tag",
    "cni_image": "weft.invalid/cni:tag",
    "pull_policy": "WeftPullPolicy",
    "trust_domain": "trust-domain.weft.invalid",
    "gateway_service": "WeftGatewayService",
    "gateway_replicas": "weft-gateway-replicas",
    "revision": "weft-revision",
}
"""By the field of `Settings`: what stands in `manifests.json` for it."""
TAG = "weft-tag"
"""What stands there for each tag but `DEFAULT`: in texts that a list has once for each, and in a list in a text."""
_TAG_IN_TEXT = f",'{TAG}'"
_PLACES = re.compile("|".join(map(re.escape, (_TAG_IN_TEXT, TAG, *PLACEHOLDERS.values()))))
REPLICAS = 7919
"""The number that stands there for that of control planes."""
_SUFFIXES = {"sidecar_image": "-proxy", "cni_image": "-cni"}
VERSION_LABEL = "app.kubernetes.io/version"


def combination(features: Features, names: Revision) -> str:
    """The combination of switches, as `manifests.json` calls it: with an ``r`` of a revision that is not the default,
    and with a ``d`` if the default's name is a tag of it, which is more than a text."""
    also = "" if names.name == DEFAULT else "rd" if DEFAULT in names.tags else "r"
    return f"{features.combination}{also}" or "none"


class _Part(msgspec.Struct, frozen=True, rename={"combinations": "in"}):
    combinations: str
    object: Json


def checked(settings: Settings) -> Settings:
    """`settings` with the tag of this version and the sidecars' image where none is said. ManifestError."""
    if not _NAMESPACE.fullmatch(settings.namespace):
        raise ManifestError(
            f"the namespace '{settings.namespace[:80]}' cannot be; expected a DNS label, such as weft-system"
        )
    if not settings.image:
        raise ManifestError(
            "no image is published, so one must be given; expected such as --image registry.example/weft"
        )
    image = _tagged(settings.image)
    sidecar = _tagged(settings.sidecar_image) if settings.sidecar_image else _after(image, "-proxy")
    agent = _tagged(settings.cni_image) if settings.cni_image else _after(image, "-cni")
    if settings.features.contradiction:
        raise ManifestError(settings.features.contradiction)
    _check_names(settings.names)
    return replace(settings, image=image, sidecar_image=sidecar, cni_image=agent)


def _check_names(names: Revision) -> None:
    for option, text in (("--revision", names.name), *(("--revision-tag", tag) for tag in names.tags)):
        if not is_revision(text):
            raise ManifestError(
                f"{option}: found '{text[:100]}', expected lower-case letters, digits and '-', at most 40"
            )
    if names.name.rpartition("-")[2] in _ENDINGS:
        text = f"--revision: '{names.name}' cannot be, since ClusterRoles of other revisions end so"
        raise ManifestError(f"{text}; expected no {', '.join(_ENDINGS)} at its end")
    if names.name.partition("-")[0] == "install":
        text = f"--revision: '{names.name}' cannot be, since records of installations are called so"
        raise ManifestError(f"{text}; expected no install at its beginning")
    if names.name in names.tags:
        raise ManifestError(
            f"--revision-tag: the revision is called {names.name} already; expected another name, or none"
        )


def following(settings: Settings) -> list[str]:
    """The fields of other images that are called after that of the control plane."""
    return [
        name for name, suffix in _SUFFIXES.items() if getattr(settings, name) in ("", _after(settings.image, suffix))
    ]


def _after(image: str, suffix: str) -> str:
    """The image that belongs to that of the control plane."""
    repository, _, tag = image.rpartition(":")
    return f"{repository}{suffix}:{tag}"


def _tagged(image: str) -> str:
    found = _IMAGE.fullmatch(image)
    if found is None:
        raise ManifestError(f"the image '{image[:200]}' cannot be; expected such as registry.example/weft:0.1.0")
    return f"{found['repository']}:{found['tag'] or __version__}"


def objects_of(settings: Settings, *, labels: Mapping[str, str] | None = None) -> list[Json]:
    """All objects of an installation, in the order in which they are applied: its namespace and the definitions of
    weft's kinds first, webhooks last. `labels` are put on each."""
    own = {name: getattr(settings, name) for name in PLACEHOLDERS}
    texts = {PLACEHOLDERS[name]: value for name, value in own.items()}
    wanted = combination(settings.features, settings.names)
    chosen = [each.object for each in _parts() if wanted in each.combinations.split()]
    tags = tuple(each for each in dict.fromkeys(settings.revision_tags) if each != DEFAULT)
    found = [_filled(each, texts, tags, settings.replicas) for each in chosen]
    for each in found:
        each["metadata"]["labels"] = {**labels_of(each), VERSION_LABEL: __version__, **(labels or {})}
    return [_namespace(settings.namespace), *(definition(kind) for kind in DEFINED), *sorted(found, key=_order)]


def _namespace(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {ENFORCE: "restricted"}}}


def _order(thing: Json) -> int:
    """Accounts and rights before what uses them, webhooks when there is somebody to answer."""
    last = (
        "Deployment",
        "StatefulSet",
        "GatewayClass",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    )
    first = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    kind = thing["kind"]
    return first.index(kind) if kind in first else len(first) + (1 + last.index(kind) if kind in last else 0)


def role_rights(features: Features, namespace: str, names: Revision = USUAL) -> list[Right]:
    """The rights that the account of the control plane has to have: those of the roles that are bound to it."""
    settings = Settings(namespace=namespace, features=features, revision=names.name, revision_tags=names.tags)
    objects, account = objects_of(settings), f"{ACCOUNT}{names.suffix}"
    bound = {
        (each["roleRef"]["kind"], each["roleRef"]["name"], member(each, "metadata", "namespace") or "")
        for each in objects
        if each["kind"].endswith("RoleBinding") and any(one.get("name") == account for one in each["subjects"])
    }
    found: list[Right] = []
    for each in objects:
        inside = str(member(each, "metadata", "namespace") or "")
        if (each["kind"], member(each, "metadata", "name"), inside) in bound:
            found += rights_of(each["rules"], inside)
    return found


@functools.cache
def _parts() -> tuple[_Part, ...]:
    text = resources.files("weft.cluster").joinpath(FILE).read_bytes()
    return msgspec.json.decode(text, type=tuple[_Part, ...])


def _filled(value: Any, texts: Mapping[str, str], tags: Iterable[str], replicas: int) -> Any:
    """`value` with the texts and the number in their places; what a list has for a tag is there once for each."""
    if isinstance(value, dict):
        return {key: _filled(each, texts, tags, replicas) for key, each in value.items()}
    if isinstance(value, list):
        found: list[Any] = []
        for each in value:
            again = isinstance(each, str) and TAG in each
            found += (
                [_put(each, {**texts, TAG: tag}) for tag in tags] if again else [_filled(each, texts, tags, replicas)]
            )
        return found
    if isinstance(value, str):
        return _put(value, {**texts, _TAG_IN_TEXT: "".join(f",'{tag}'" for tag in tags)})
    return replicas if value == REPLICAS else value


def _put(text: str, texts: Mapping[str, str]) -> str:
    """`text` with all in their places, in one go: what is put in is not looked at again."""
    return _PLACES.sub(lambda found: texts[found[0]], text)


def combined(renderings: Mapping[str, Iterable[Json]]) -> bytes:
    """`manifests.json`, of the objects that the chart makes by combination of switches."""
    found: dict[str, tuple[Json, list[str]]] = {}
    for combination, objects in renderings.items():
        for each in objects:
            key = msgspec.json.encode(each, order="sorted").decode()
            found.setdefault(key, (each, []))[1].append(combination)
    parts = [{"in": " ".join(combinations), "object": each} for each, combinations in found.values()]
    return msgspec.json.format(msgspec.json.encode(parts), indent=1) + b"\n"
