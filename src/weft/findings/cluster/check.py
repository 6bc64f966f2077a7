"""All checks of a cluster: those of any, those before weft is installed there, those of one that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from weft.findings.checks.check import Checked
from weft.findings.cluster import fitness, health
from weft.findings.cluster.facts import ClusterFacts
from weft.findings.cluster.told import UNFIT, error
from weft.findings.finding import Finding


@dataclass(frozen=True, slots=True)
class ClusterCheck:
    """One check. `well` is what is told when it finds nothing. `before`: of a cluster that weft is not in yet; `after`:
    of one that it is in."""

    well: str
    find: Callable[[ClusterFacts], Iterator[Finding]]
    before: bool = True
    after: bool = True


ONLY_BEFORE = "you may do what installing needs"
"""What is only told of a cluster that weft is not in."""
CLUSTER_CHECKS = (
    ClusterCheck("Kubernetes is of a version that weft knows", fitness.version),
    ClusterCheck("the clock of this host is the API server's", fitness.clock),
    ClusterCheck("nodes can run weft, and their clocks agree", fitness.nodes),
    ClusterCheck("the Gateway API is there, in a version that weft knows", fitness.gateway_api),
    ClusterCheck("no other mesh is in the way", fitness.other_meshes),
    ClusterCheck("Pod Security lets sidecars in", fitness.pod_security),
    ClusterCheck(ONLY_BEFORE, fitness.own_rights, after=False),
    ClusterCheck("everything could be read", fitness.unread),
    ClusterCheck(
        "the control plane's pods are ready, and its Service leads to them", health.control_plane, before=False
    ),
    ClusterCheck("the control plane and this command are of one version", health.versions, before=False),
    ClusterCheck("one control plane leads, and its clock is right", health.lease, before=False),
    ClusterCheck("the definitions of weft's kinds are there, of this version", health.definitions, before=False),
    ClusterCheck("the control plane may do what it needs", fitness.account_rights, before=False),
    ClusterCheck("webhooks are there and know the mesh's root", health.webhooks, before=False),
    ClusterCheck("the API server reaches the webhooks", health.trials, before=False),
    ClusterCheck("no pod starts without its sidecar", health.failure_policy, before=False),
    ClusterCheck("every pod that should have a sidecar has one", health.left_out, before=False),
    ClusterCheck("sidecars are what pods get now", health.old_proxies, before=False),
)


def check_cluster(facts: ClusterFacts, *, before: bool = False) -> Checked:
    """Run every check that is meant for such a cluster; the worst findings come first. `before`: only those that are
    made before weft is installed, also where it is."""
    if facts.unreachable:
        text = f"it cannot be asked: {facts.unreachable}"
        return Checked((error(UNFIT, f"API server {facts.server}", text, "kubectl cluster-info"),), ())
    there = facts.installation is not None and not before
    findings: list[Finding] = []
    passed = []
    for one in CLUSTER_CHECKS:
        if not (one.after if there else one.before):
            continue
        found = tuple(one.find(facts))
        findings += found
        if not found:
            passed.append(one.well)
    return Checked(tuple(sorted(findings, key=lambda each: each.order)), tuple(passed))
