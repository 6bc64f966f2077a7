"""Whether a cluster can take weft: its version, nodes, definitions, other meshes, and what whoever asks may do."""

from __future__ import annotations

from collections.abc import Iterator

from weft.findings.cluster.facts import DEFINITIONS, ClusterFacts
from weft.findings.cluster.told import RIGHTS, UNFIT, error, listed, numbers, warning
from weft.findings.finding import Finding

OLDEST = (1, 34)
"""Kubernetes: lists come as streams, and discovery is aggregated."""
TRIED = (1, 37)
"""The newest that weft's tests run on."""
GATEWAY_API = (1, 4)
GATEWAY_API_TRIED = (1, 7)
"""Releases of the Gateway API: the oldest whose kinds are read in the versions that it stores, the newest tried."""
_GATEWAY_GROUP = ".gateway.networking.k8s.io"
_NEEDED = ("gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants")
_STANDARD = "https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.3/standard-install.yaml"
_APPLY = f"kubectl apply --server-side -f {_STANDARD}"
CLOCK = 30.0
"""Seconds by which clocks may differ: certificates are valid from a minute before they are made."""


def version(facts: ClusterFacts) -> Iterator[Finding]:
    """Old servers do not have what weft asks for; on newer ones it was not tried."""
    found = numbers(facts.version)
    if found < OLDEST:
        text = f"it is {facts.version or 'of an unknown version'}; weft needs Kubernetes {_dotted(OLDEST)} or newer"
        yield error(UNFIT, "API server", text, "kubectl version  # and take a newer one")
    elif found[0] != TRIED[0] or found[1] > TRIED[1] + 3:
        text = f"it is {facts.version}; this weft was tried with Kubernetes up to {_dotted(TRIED)}"
        yield warning(UNFIT, "API server", text, "pip install --upgrade weft")


def clock(facts: ClusterFacts) -> Iterator[Finding]:
    """Certificates and tokens begin and end by clocks."""
    if abs(facts.ahead) > CLOCK:
        way = "ahead of" if facts.ahead > 0 else "behind"
        text = f"the clock of this host is {abs(facts.ahead):.0f} s {way} the API server's"
        yield warning(UNFIT, "clock", text, "timedatectl set-ntp true")


def nodes(facts: ClusterFacts) -> Iterator[Finding]:
    """Kubelets, systems and clocks of nodes."""
    old = [each.name for each in facts.nodes if (0, 0) < numbers(each.kubelet) < (OLDEST[0], OLDEST[1] - 3)]
    if old:
        text = f"{listed(old)}: the kubelet is older than {OLDEST[0]}.{OLDEST[1] - 3}, more than a server lets be"
        yield error(UNFIT, "nodes", text, "kubectl get nodes -o wide")
    other = [each.name for each in facts.nodes if each.system != "linux"]
    if other:
        text = f"{listed(other)}: no Linux; pods there can have no sidecar"
        yield warning(UNFIT, "nodes", text, "kubectl get nodes -L kubernetes.io/os")
    kinds = sorted({each.architecture for each in facts.nodes if each.system == "linux" and each.architecture})
    if len(kinds) > 1:
        text = f"they are of several architectures ({', '.join(kinds)}); the images have to be there for each"
        yield warning(UNFIT, "nodes", text, "kubectl get nodes -L kubernetes.io/arch")
    ahead = [each.name for each in facts.nodes if each.ahead > CLOCK]
    if ahead:
        text = f"{listed(ahead)}: the clock is more than {CLOCK:.0f} s ahead of the API server's"
        yield error(UNFIT, "nodes", text, f"timedatectl set-ntp true  # on {ahead[0]}")
    if facts.nodes and not any(each.ready and each.system == "linux" for each in facts.nodes):
        yield error(UNFIT, "nodes", "none is ready, so no pod can start", "kubectl describe nodes")


def gateway_api(facts: ClusterFacts) -> Iterator[Finding]:
    """Its definitions: there, of one release, of a release that weft reads."""
    found = {each.name: each for each in facts.definitions if each.name.endswith(_GATEWAY_GROUP)}
    about = "Gateway API"
    if not facts.was_read(DEFINITIONS):
        return
    if not found:
        text = "its definitions are not there, so there can be no Gateways and no HTTPRoutes"
        yield warning(UNFIT, about, text, _APPLY)
        return
    missing = [name for name in _NEEDED if name + _GATEWAY_GROUP not in found]
    if missing:
        yield warning(UNFIT, about, f"it has no {' and no '.join(missing)}", _APPLY)
    pending = sorted(each.name for each in found.values() if not each.established)
    if pending:
        text = f"the server does not serve {listed(pending)} yet"
        yield error(UNFIT, about, text, f"kubectl describe crd {pending[0]}")
    releases = sorted({each.bundle for each in found.values() if each.bundle})
    if len(releases) > 1:
        yield warning(UNFIT, about, f"its definitions are of several releases: {', '.join(releases)}", _APPLY)
    for release in releases:
        if numbers(release) < GATEWAY_API:
            text = f"it is {release}; weft reads {_dotted(GATEWAY_API)} or newer"
            yield warning(UNFIT, about, text, _APPLY)
        elif numbers(release) > GATEWAY_API_TRIED:
            text = f"it is {release}; this weft was tried with releases up to {_dotted(GATEWAY_API_TRIED)}"
            yield warning(UNFIT, about, text, "pip install --upgrade weft")


def other_meshes(facts: ClusterFacts) -> Iterator[Finding]:
    """Two that put proxies into the same pods, or follow the same documents."""
    for each in facts.webhooks:
        if each.ours or not each.pods or not each.namespaces:
            continue
        text = (
            f"the webhook {each.name} of another mesh is asked about pods of {listed(list(each.namespaces))} too; "
            "of two sidecars in a pod neither works"
        )
        fix = f"kubectl get mutatingwebhookconfiguration {each.configuration} -o yaml  # and take one label off"
        yield error(UNFIT, f"namespace {each.namespaces[0]}", text, fix)
    if facts.istiod:
        text = (
            f"{listed(list(facts.istiod))} is there: both meshes read the same documents of Istio, and each namespace "
            "should be in one of them"
        )
        yield warning(UNFIT, "Istio", text, "kubectl get namespaces -L istio-injection,istio.io/rev,weft.dev/injection")


def pod_security(facts: ClusterFacts) -> Iterator[Finding]:
    """The init container that leads connections into the proxy needs NET_ADMIN, unless a CNI plugin does its work."""
    if facts.has_cni:
        return
    for each in facts.injected:
        if each.enforce in ("baseline", "restricted"):
            text = f"it enforces Pod Security '{each.enforce}', which refuses weft-init: it needs NET_ADMIN and NET_RAW"
            fix = f"kubectl label namespace {each.name} --overwrite pod-security.kubernetes.io/enforce=privileged"
            yield error(UNFIT, f"namespace {each.name}", text, fix)


def own_rights(facts: ClusterFacts) -> Iterator[Finding]:
    """What whoever asks may not do and has to."""
    missing = [each.what for each in facts.rights if not each.granted]
    if missing:
        yield error(RIGHTS, "you", f"you may not {listed(missing)}", f"kubectl auth can-i {_asked(missing[0])}")


def unread(facts: ClusterFacts) -> Iterator[Finding]:
    """What could not be looked at is said: it may be wrong."""
    if facts.unread:
        text = f"not looked at, since it could not be read: {listed(list(facts.unread))}"
        yield warning(RIGHTS, "you", text, "kubectl auth whoami")


def account_rights(facts: ClusterFacts) -> Iterator[Finding]:
    """What the control plane's account may not do and has to."""
    missing = [each.what for each in facts.account_rights if not each.granted]
    if missing:
        about = f"service account {facts.namespace}/weft{facts.suffix}"
        name = f"system:serviceaccount:{facts.namespace}:weft{facts.suffix}"
        fix = f"kubectl auth can-i {_asked(missing[0])} --as {name}  # {facts.upgrade}, or helm upgrade, puts it right"
        yield error(RIGHTS, about, f"it may not {listed(missing)}", fix)


def _asked(what: str) -> str:
    """``create deployments.apps in shop`` as kubectl takes it."""
    words, _, namespace = what.partition(" in ")
    return words + (f" -n {namespace}" if namespace else "")


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
