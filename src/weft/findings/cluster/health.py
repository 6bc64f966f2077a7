"""Whether weft works in a cluster that has it: pods, versions, Lease, definitions, webhooks."""

from __future__ import annotations

from collections.abc import Iterator

from weft.findings.cluster.facts import (
    ENDPOINTS,
    LEASES,
    MUTATING,
    PODS,
    VALIDATING,
    ClusterFacts,
    InstallationFact,
    LeaseFact,
    WebhookFact,
)
from weft.findings.cluster.told import POD, UNWELL, WEBHOOK, error, listed, numbers, warning
from weft.findings.finding import Finding

_DAY = 86400.0
_SOON = 30 * _DAY
CLOCK = 30.0


def control_plane(facts: ClusterFacts) -> Iterator[Finding]:
    """Its pods are ready, and its Service leads to them."""
    found = facts.installation
    if found is None:
        return
    for pod in found.pods:
        if not pod.ready:
            fix = f"kubectl -n {facts.namespace} describe pod {pod.name}; kubectl -n {facts.namespace} logs {pod.name}"
            yield error(UNWELL, f"pod {facts.namespace}/{pod.name}", pod.why or "it is not ready", fix)
        elif pod.restarts > 2:
            fix = f"kubectl -n {facts.namespace} logs {pod.name} --previous"
            yield warning(UNWELL, f"pod {facts.namespace}/{pod.name}", f"it was restarted {pod.restarts} times", fix)
    if len(found.pods) < found.wanted and facts.was_read(PODS):
        text = f"{len(found.pods)} of its {found.wanted} pods are there"
        yield error(UNWELL, found.workload, text, f"kubectl -n {facts.namespace} describe {found.workload}")
    if found.endpoints == 0 and facts.was_read(ENDPOINTS):
        text = "no endpoint of it is ready: proxies and the API server reach nobody"
        fix = f"kubectl -n {facts.namespace} get endpointslices -l kubernetes.io/service-name=weft{facts.suffix}"
        yield error(UNWELL, f"Service {facts.namespace}/weft{facts.suffix}", text, fix)


def versions(facts: ClusterFacts) -> Iterator[Finding]:
    """The command line, the control plane and the sidecars that are put in are at most one minor release apart."""
    found = facts.installation
    if found is None or found.version == facts.client:
        return
    ours, theirs = numbers(facts.client), numbers(found.version)
    text = f"the control plane is weft {found.version}, and this command {facts.client}"
    apart = abs(ours[1] - theirs[1]) if ours[0] == theirs[0] else 2
    if apart > 1:
        yield error(UNWELL, found.workload, f"{text}: more than one release apart", _same(facts, found))
    else:
        yield warning(UNWELL, found.workload, text, _same(facts, found))


def _same(facts: ClusterFacts, found: InstallationFact) -> str:
    if found.managed_by == "Helm":
        return f"pip install weft=={found.version}  # or helm upgrade"
    return f"{facts.upgrade}  # or pip install weft=={found.version}"


def lease(facts: ClusterFacts) -> Iterator[Finding]:
    """One control plane leads, of those that write and of those that share a state, and its clock is right. While none
    is ready that is said already."""
    installation = facts.installation
    ready = installation is None or any(each.ready for each in installation.pods)
    if not ready or not facts.was_read(LEASES):
        return
    found = list(_held(facts, f"weft-leader{facts.suffix}", facts.lease, "no status and no Gateway is written"))
    yield from found
    if installation is None or not installation.shared or (found and _host(facts.lease) == _host(facts.state_lease)):
        return  # what is wrong with a control plane that has both is said
    if facts.state_lease is not None or installation.version == facts.client:  # one of before has no such Lease
        yield from _held(facts, "weft-state", facts.state_lease, "no history is written, and no root rotated")


def _host(held: LeaseFact | None) -> str | None:
    return held.holder.partition("_")[0] or None if held is not None else None


def _held(facts: ClusterFacts, name: str, held: LeaseFact | None, without: str) -> Iterator[Finding]:
    about = f"Lease {facts.namespace}/{name}"
    fix = f"kubectl -n {facts.namespace} get lease {name} -o yaml"
    if held is None or not held.holder:
        yield error(UNWELL, about, f"nobody leads, so {without}", fix)
    elif held.age > held.lasting + CLOCK:
        text = f"{held.holder} has not renewed it for {held.age:.0f} s, or its clock is as much behind the API server's"
        yield error(UNWELL, about, text, fix)
    elif held.age < -CLOCK:
        text = f"the clock of {held.holder} is {-held.age:.0f} s ahead of the API server's"
        yield error(UNWELL, about, text, "timedatectl set-ntp true  # on its node")


def definitions(facts: ClusterFacts) -> Iterator[Finding]:
    """Those of weft's kinds are there, served, and this version's; or those of a later revision, which has them."""
    ours = [each for each in facts.definitions if each.known]
    missing = [each.name for each in ours if not each.established and not each.stored]
    if missing:
        yield error(UNWELL, "definitions", f"the server has no {listed(missing)}", facts.upgrade)
    waiting = [each.name for each in ours if not each.established and each.stored]
    if waiting:
        yield error(UNWELL, "definitions", f"not served yet: {listed(waiting)}", f"kubectl describe crd {waiting[0]}")
    other = [each.name for each in ours if each.established and not each.same]
    if other and not facts.later:
        yield warning(UNWELL, "definitions", f"of another version of weft: {listed(other)}", facts.upgrade)
    for each in ours:
        unknown = sorted(set(each.stored) - set(each.known))
        if unknown:
            text = f"objects lie there as {', '.join(unknown)}, which this weft does not know"
            yield error(UNWELL, f"definition {each.name}", text, "pip install --upgrade weft")


def webhooks(facts: ClusterFacts) -> Iterator[Finding]:
    """Those of weft are there and trust the mesh's root."""
    ours = [each for each in facts.webhooks if each.ours]
    for wanted, mutating, name in (
        (facts.injects and facts.was_read(MUTATING), True, f"weft-injector{facts.suffix}"),
        (facts.validates and facts.was_read(VALIDATING), False, f"weft-validator{facts.suffix}"),
    ):
        there = [each for each in ours if each.mutating is mutating]
        if wanted and not there:
            does = "pods get no sidecars" if mutating else "documents are not checked when they are written"
            yield error(WEBHOOK, name, f"the configuration is not there: {does}", facts.upgrade)
        yield from _authorities(there, facts)


def _authorities(ours: list[WebhookFact], facts: ClusterFacts) -> Iterator[Finding]:
    """The roots by which the API server knows the control plane."""
    roots = {each.authority for each in ours}
    wait = f"kubectl -n {facts.namespace} logs -l app.kubernetes.io/component=control-plane | grep webhook"
    for each in ours[:1]:
        if "" in roots:
            text = "it has no caBundle, so the API server cannot ask the control plane, which writes it by itself"
            yield error(WEBHOOK, each.configuration, text, wait)
        elif len(roots) > 1:
            yield error(WEBHOOK, each.configuration, "its webhooks have different roots in caBundle", wait)
        elif facts.root and facts.root not in roots:
            text = f"caBundle has {each.authority[:23]}…, and the mesh's root is {facts.root[:23]}…"
            yield error(WEBHOOK, each.configuration, text, wait)
        elif each.ends and each.ends - facts.now < _SOON:
            days = max(0.0, (each.ends - facts.now) / _DAY)
            text = f"the root in caBundle ends in {days:.0f} days"
            yield warning(WEBHOOK, each.configuration, text, "weft ca rotate")


def trials(facts: ClusterFacts) -> Iterator[Finding]:
    """The API server reaches the control plane: it was asked to make something, without it being made. While no pod of
    the control plane is ready that is said already."""
    if facts.installation is not None and facts.installation.endpoints == 0 and facts.was_read(ENDPOINTS):
        return
    for each in facts.trials:
        if not each.answered:
            fix = (
                f"kubectl -n {facts.namespace} get endpoints,pods,networkpolicies  # and see docs/install-kubernetes.md"
            )
            yield error(WEBHOOK, each.what, each.text, fix)


def failure_policy(facts: ClusterFacts) -> Iterator[Finding]:
    """A webhook that lets pods start without a sidecar lets them speak plaintext."""
    open_ones = [each for each in facts.webhooks if each.ours and each.mutating and each.failure_policy == "Ignore"]
    if open_ones:
        text = "failurePolicy is Ignore: while the control plane is away, pods start without a sidecar, in plaintext"
        fix = "helm upgrade … --set injection.failurePolicy=Fail"
        yield warning(WEBHOOK, open_ones[0].configuration, text, fix)


def left_out(facts: ClusterFacts) -> Iterator[Finding]:
    """Pods that are older than the label of their namespace have no sidecar."""
    without: dict[str, list[str]] = {}
    restarts: dict[str, str] = {}
    for each in facts.pods:
        if not each.image:
            without.setdefault(each.namespace, []).append(each.name)
            restarts.setdefault(each.namespace, each.restart)
    for namespace, names in sorted(without.items()):
        text = f"should have a sidecar and have none, so they speak plaintext: {listed(names)}"
        fix = restarts[namespace] or f"kubectl -n {namespace} delete pod {names[0]}  # and make it again"
        yield warning(POD, f"namespace {namespace}", text, fix)


def old_proxies(facts: ClusterFacts) -> Iterator[Finding]:
    """Sidecars of another image than pods get now."""
    now = next((each.image for each in facts.trials if each.image), "")
    old: dict[str, list[str]] = {}
    restarts: dict[str, str] = {}
    for each in facts.pods:
        if now and each.image and each.image != now:
            old.setdefault(each.namespace, []).append(each.name)
            restarts.setdefault(each.namespace, each.restart)
    for namespace, names in sorted(old.items()):
        text = f"have another sidecar than pods get now ({now}): {listed(names)}"
        yield warning(POD, f"namespace {namespace}", text, restarts[namespace] or f"kubectl -n {namespace} get pods")
