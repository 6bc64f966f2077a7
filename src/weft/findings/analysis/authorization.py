"""Who may call whom, as far as policies, routes and workloads say it together."""

from __future__ import annotations

from collections.abc import Iterator

from weft.findings.analysis.subject import Subject, short
from weft.findings.finding import NOWHERE, Finding, finding
from weft.mesh.access.access import Access
from weft.mesh.access.attachment import port_accesses
from weft.mesh.access.policy import AccessPolicy, Closed
from weft.mesh.access.reach import Reach, Reaches, any_call, reach_of
from weft.mesh.memo import Memo
from weft.mesh.services.endpoints import port_behind
from weft.mesh.services.service import BackendKey, Protocol
from weft.mesh.services.workloads import gateway_of
from weft.model.identity import SpiffeId
from weft.model.workload import Workload


def gateway_left_out(subject: Subject) -> Iterator[Finding]:
    """Gateways with a route to a service whose policies never let them in: all that comes from outside gets 403."""
    memo = Memo()
    for gateway in subject.mesh.workloads:
        if gateway.gateway is None:
            continue
        identity = SpiffeId(subject.mesh.settings.trust_domain, gateway.namespace, gateway.service_account)
        for key in _backends(subject, gateway_of(gateway)):
            found = [_reach(access, identity) for access in _accesses(subject, memo, key)]
            if not found or any(each.reaches is not Reaches.NO for each in found):
                continue
            policy: AccessPolicy | Closed | None = next(iter(found[0].policies), None)
            account = f"{identity.namespace}/{identity.service_account}"
            text = (
                f"the gateway {gateway_of(gateway)} has a route to {short(key.host)}, and its policies never let it in"
            )
            yield finding(
                "gateway-left-out",
                f"{text}: it calls as service account {account}",
                object=policy.object if policy is not None else None,
                about=f"{gateway_of(gateway)} to {short(key.host)}",
                origin=policy.origin if policy is not None else NOWHERE,
            )


def _backends(subject: Subject, gateway: str) -> Iterator[BackendKey]:
    """The service ports that rules of a gateway lead to, each once."""
    rules = (one for one in subject.rules if one.gateway == gateway)
    yield from dict.fromkeys(key for one in rules for key in one.rule.backends())


def _accesses(subject: Subject, memo: Memo, key: BackendKey) -> Iterator[Access]:
    """What is asked at each workload behind a service port that carries requests."""
    mesh = subject.mesh
    frontend = mesh.catalog.by_host.get(key.host)
    port = frontend.port(key.port) if frontend is not None else None
    if frontend is None or port is None or port.protocol is Protocol.TCP:
        return
    for workload in subject.behind.get(key.host, ()):
        behind = port_behind(frontend, port.target, workload)
        if behind is not None:
            yield _of(subject, memo, workload)[workload.ports.index(behind)]


def _of(subject: Subject, memo: Memo, workload: Workload) -> tuple[Access, ...]:
    mesh, namespace = subject.mesh, workload.namespace
    frontends = mesh.catalog.selecting(namespace, workload.labels)
    return memo(port_accesses, memo, mesh.access.of(namespace), mesh.settings.trust_domain, frontends, workload)


def _reach(access: Access, identity: SpiffeId) -> Reach:
    return reach_of(access, any_call(str(identity).removeprefix("spiffe://"), access.port, http=True))
