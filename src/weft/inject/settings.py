"""What injection is told once for all pods: the image, the control plane, and what a sidecar may use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from weft.inject.quantities import quantity
from weft.model.revisions import DEFAULT, Revision, is_revision

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
SYSTEM_NAMESPACES = frozenset(("kube-system", "kube-public", "kube-node-lease"))
"""Namespaces in which no pod gets a sidecar: the cluster itself needs them."""
_FINGERPRINT = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_IMAGE = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9._:/@]{0,511}")
_SERVER = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[-a-zA-Z0-9.]+):([0-9]{1,5})")


class InjectionSettingsError(ValueError):
    """A setting that cannot be; the message names it and says what is expected."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Of the proxy's container, as Kubernetes' quantities; an empty one is not said."""

    cpu: str = "100m"
    memory: str = "192Mi"
    cpu_limit: str = ""
    memory_limit: str = "1Gi"


@dataclass(frozen=True, slots=True)
class InjectionSettings:
    """`image` is that of the proxy and of what installs the rules, `server` the agent API of the control plane
    (``HOST:PORT``), proven by `fingerprint` (``sha256:HEX`` of the mesh's root). `revision` and `tags` are what labels
    call this control plane, `namespace` the one it is in, whose pods get no sidecar. `native`: the proxy is a native
    sidecar, an init container that runs on, unless a pod wants it otherwise. `cni`: the node agent installs the
    rules of capture (`weft cni`), and pods need no right for it."""

    image: str
    server: str
    fingerprint: str
    pull_policy: str = "IfNotPresent"
    revision: str = DEFAULT
    tags: tuple[str, ...] = ()
    namespace: str = "weft-system"
    native: bool = True
    cni: bool = False
    resources: Resources = field(default_factory=Resources)

    @property
    def names(self) -> tuple[str, ...]:
        """All that labels call this control plane."""
        return Revision(self.revision, self.tags).names


def check_settings(settings: InjectionSettings) -> InjectionSettings:
    """`settings`, with the fingerprint in its one form. InjectionSettingsError."""
    found = _FINGERPRINT.fullmatch(settings.fingerprint.lower().replace("sha256:", ""))
    checks = (
        (_IMAGE.fullmatch(settings.image), "image", settings.image, "such as registry.example/weft:1"),
        (found, "fingerprint", settings.fingerprint, "sha256: and 64 hexadecimal digits"),
        *((is_revision(each), "revision", each, "a word such as default or canary") for each in settings.names),
        (settings.pull_policy in PULL_POLICIES, "pull policy", settings.pull_policy, " or ".join(PULL_POLICIES)),
    )
    for good, name, value, expected in checks:
        if not good:
            raise InjectionSettingsError(f"the {name} '{value[:200]}' cannot be; expected {expected}")
    if settings.cni and not settings.native:
        raise InjectionSettingsError(
            "proxies cannot be classic containers where nodes capture pods (--cni): init containers would reach nobody"
        )
    server = _SERVER.fullmatch(settings.server)
    if server is None or not 1 <= int(server[1]) <= 65535:
        raise InjectionSettingsError(f"the server '{settings.server[:200]}' cannot be; expected HOST:PORT")
    for text in (settings.resources.cpu, settings.resources.memory):
        if text and quantity(text) is None:
            raise InjectionSettingsError(f"'{text}' is no quantity; expected such as 100m or 192Mi")
    return replace(settings, fingerprint=f"sha256:{found[1]}" if found else "")
