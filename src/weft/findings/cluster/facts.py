"""Facts of a cluster: what its API server tells whoever asks. Times are seconds by that server's clock."""

from __future__ import annotations

from dataclasses import dataclass

from weft.model.revisions import DEFAULT, Revision

DEFINITIONS = "definitions of kinds"
MUTATING, VALIDATING = "mutating webhooks", "validating webhooks"
PODS, ENDPOINTS, LEASES = "pods of weft", "endpoints of weft", "the Lease of weft"
"""What `ClusterFacts.unread` calls things."""


@dataclass(frozen=True, slots=True)
class NodeFact:
    """A Node. `ahead` is by how many seconds its clock is before the API server's, at least (0: it may be right)."""

    name: str
    kubelet: str = ""
    system: str = "linux"
    architecture: str = ""
    kernel: str = ""
    ready: bool = True
    ahead: float = 0.0


@dataclass(frozen=True, slots=True)
class DefinitionFact:
    """A CustomResourceDefinition, called ``PLURAL.GROUP``. `bundle` and `channel` are what the Gateway API's own say of
    themselves. `stored` are the versions in which objects may lie, and `known` those that this weft has; both are empty
    for definitions that are not weft's. `same`: its schema is this weft's."""

    name: str
    bundle: str = ""
    channel: str = ""
    established: bool = True
    stored: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    same: bool = True


@dataclass(frozen=True, slots=True)
class WebhookFact:
    """One webhook of a configuration. `authority` is the fingerprint (``sha256:HEX``) of the first root that it trusts
    and `ends` when that ends (empty and 0: it has none). `pods`: it is asked about pods that are made. `namespaces` are
    the injected ones that it selects, too."""

    configuration: str
    name: str
    ours: bool = False
    mutating: bool = True
    failure_policy: str = "Fail"
    authority: str = ""
    ends: float = 0.0
    pods: bool = False
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NamespaceFact:
    """A namespace whose pods get sidecars. `enforce` is the level of Pod Security that it enforces."""

    name: str
    enforce: str = ""


@dataclass(frozen=True, slots=True)
class PodFact:
    """A pod that has, or should have, a sidecar. `image` is its sidecar's (empty: it has none); `restart` the command
    that makes it anew (empty: nothing does)."""

    namespace: str
    name: str
    image: str = ""
    restart: str = ""


@dataclass(frozen=True, slots=True)
class RightFact:
    """Something that may be done (``create deployments.apps in weft-system``), or not."""

    what: str
    granted: bool


@dataclass(frozen=True, slots=True)
class ControlPod:
    """A pod of the control plane; `why` says what holds it up where it is not ready."""

    name: str
    ready: bool = True
    why: str = ""
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class InstallationFact:
    """The control plane as it is installed: by which workload (``statefulset/weft``), in which version (of its label),
    with which image, by whom (``Helm``, ``weft-install``, or empty), and with which pods. `wanted` of them are to be.
    `endpoints` of its Service are ready."""

    workload: str
    version: str
    image: str = ""
    managed_by: str = ""
    wanted: int = 1
    pods: tuple[ControlPod, ...] = ()
    endpoints: int = 0
    shared: bool = False


@dataclass(frozen=True, slots=True)
class LeaseFact:
    """The Lease of a control plane that leads. `age` is how many seconds ago it was renewed: by the clock of its
    holder then, by the API server's now."""

    holder: str
    age: float
    lasting: int


@dataclass(frozen=True, slots=True)
class TrialFact:
    """What came of asking the API server to make something, without it being made. `answered`: what was hoped for."""

    what: str
    answered: bool
    text: str = ""
    image: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """See the module. `unreachable` says why nothing else is known. `ahead` is by how many seconds this host's clock is
    before the API server's. `unread` are the kinds that could not be read. `root` is the fingerprint of the mesh's root
    as the control plane puts it into pods (empty: not known). `revision` is the one that is looked at. `later`:
    another one is of a later release than the command line."""

    server: str
    namespace: str
    client: str
    unreachable: str = ""
    version: str = ""
    ahead: float = 0.0
    nodes: tuple[NodeFact, ...] = ()
    definitions: tuple[DefinitionFact, ...] = ()
    istiod: tuple[str, ...] = ()
    webhooks: tuple[WebhookFact, ...] = ()
    injected: tuple[NamespaceFact, ...] = ()
    pods: tuple[PodFact, ...] = ()
    rights: tuple[RightFact, ...] = ()
    account_rights: tuple[RightFact, ...] = ()
    installation: InstallationFact | None = None
    lease: LeaseFact | None = None
    state_lease: LeaseFact | None = None
    now: float = 0.0
    injects: bool = True
    validates: bool = True
    has_cni: bool = False
    trials: tuple[TrialFact, ...] = ()
    unread: tuple[str, ...] = ()
    root: str = ""
    revision: str = DEFAULT
    later: bool = False

    @property
    def suffix(self) -> str:
        """What names of the revision's objects end with."""
        return Revision(self.revision).suffix

    @property
    def upgrade(self) -> str:
        """The command that puts its objects right."""
        return "weft upgrade" if self.revision == DEFAULT else f"weft upgrade --revision {self.revision}"

    def was_read(self, what: str) -> bool:
        """Whether something was there to be read, or not there: of what may not be read nothing is known."""
        return what not in self.unread
