"""Checks of proxies and of the agents beside them."""

from __future__ import annotations

from collections.abc import Iterator

from weft.findings.checks.wording import lasting, span
from weft.findings.facts import Facts
from weft.findings.finding import Finding, finding
from weft.model.problem import Severity
from weft.model.revisions import REVISION

_CERTIFICATE_SECONDS = 600.0
_CLOCK_SECONDS = 30.0
_CLOCK_ERROR_SECONDS = 300.0
_NAMES = 3


def proxy_not_connected(facts: Facts) -> Iterator[Finding]:
    """Registered workloads whose proxies have no stream; those of Pods that another revision injected have it there."""
    for one in facts.workloads:
        revision = dict(one.workload.labels).get(REVISION, "") if one.workload.pod and facts.revisions else ""
        if not one.connected and (not revision or revision in facts.revisions):
            name, about = one.workload.name, f"workload {one.workload.proxy}"
            if one.workload.pod:
                text = f"Pod {name} is in the mesh, but its proxy is not connected: it has not joined, or has gone"
                yield finding("pod-not-connected", text, about=about, workload=name, namespace=one.workload.namespace)
                continue
            text = f"{name} is registered, but its proxy is not connected: it hears of no change"
            yield finding("proxy-not-connected", text, about=about, workload=name)


def proxy_behind(facts: Facts) -> Iterator[Finding]:
    """Proxies that have not confirmed everything."""
    for one in facts.proxies:
        if one.confirmed < one.revision and not one.stuck:
            text = f"{one.name} has confirmed revision {one.confirmed}, it was offered {one.revision}"
            yield finding("proxy-behind", text, about=f"proxy {one.name}", proxy=one.name)


def envoy_versions_differ(facts: Facts) -> Iterator[Finding]:
    """Proxies with another Envoy than this weft was tried with, or than most others."""
    by_version: dict[str, list[str]] = {}
    for one in facts.proxies:
        if one.envoy:
            by_version.setdefault(one.envoy, []).append(one.name)
    tried = facts.tried_envoy.rpartition(".")[0]
    for version, names in sorted(by_version.items()):
        if version.rpartition(".")[0] != tried or (len(by_version) > 1 and len(names) * 2 <= len(facts.proxies)):
            shown = ", ".join(names[:_NAMES]) + (" and others" if len(names) > _NAMES else "")
            text = f"Envoy {version} runs in {len(names)} of {len(facts.proxies)} proxies ({shown}); "
            text += f"{facts.tried_envoy} was tried"
            workload = names[0].partition(".")[0]
            yield finding("envoy-versions-differ", text, about=f"proxy {names[0]}", workload=workload)


def certificate_expires(facts: Facts) -> Iterator[Finding]:
    """Workloads whose certificate is not renewed, by what they were given last; of those given theirs before we ran, by
    what their stream proved."""
    ends = {one.workload.proxy: (one.begins, one.ends) for one in facts.workloads if one.ends}
    for proxy in facts.proxies:
        ends.setdefault(proxy.name, (proxy.connected, proxy.certificate_ends))
    for name, (begins, end) in sorted(ends.items()):
        left = end - facts.now
        if left < min(_CERTIFICATE_SECONDS, (end - begins) / 4):
            severity = Severity.ERROR if left <= 0 else Severity.WARNING
            text = f"the certificate of {name} {lasting(left)}"
            workload = name.partition(".")[0]
            yield finding("certificate-expires", text, about=f"proxy {name}", severity=severity, workload=workload)


def clock_differs(facts: Facts) -> Iterator[Finding]:
    """Agents whose clocks are not ours."""
    for one in facts.workloads:
        if one.ahead is not None and abs(one.ahead) > _CLOCK_SECONDS:
            word = "ahead of" if one.ahead > 0 else "behind"
            severity = Severity.ERROR if abs(one.ahead) > _CLOCK_ERROR_SECONDS else Severity.WARNING
            text = f"the clock of {one.workload.name} is {span(abs(one.ahead))} {word} the control plane's"
            yield finding("clock-differs", text, about=f"workload {one.workload.proxy}", severity=severity)
