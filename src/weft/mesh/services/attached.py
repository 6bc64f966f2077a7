"""What policies of the Gateway API that are attached to Services say of the connections to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from weft.mesh.policies.backendtlspolicy import BackendTlsPolicies
from weft.mesh.policies.xbackendtrafficpolicy import TrafficPolicies
from weft.mesh.routes.sessions import ServiceSessions
from weft.mesh.services.service import RetryBudget, Tls, TrafficPolicy
from weft.model.origin import Origin
from weft.model.problem import Problem


@dataclass(frozen=True, slots=True, eq=False)
class Attached:
    """What is attached to one service: TLS by the name of a port (empty: of every other), a budget for retries, and
    where that is said. Compared by identity."""

    tls: Mapping[str, Tls]
    budget: RetryBudget | None
    origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Attachments:
    """What is attached to services, by full name, and the sessions that clients have with them. Compared by
    identity."""

    by_host: Mapping[str, Attached]
    problems: tuple[Problem, ...] = ()
    sessions: ServiceSessions = ()

    def column(self, hosts: Iterable[str]) -> list[Attached | None]:
        """That of each of these services."""
        return [self.by_host.get(host) for host in hosts]


NO_ATTACHMENTS = Attachments({})


def build_attachments(tls: BackendTlsPolicies, traffic: TrafficPolicies) -> Attachments:
    """What the policies of both kinds come to."""
    sections: dict[str, dict[str, Tls]] = {}
    origins: dict[str, list[Origin]] = {}
    for (host, port), found in tls.by_section.items():
        sections.setdefault(host, {})[port] = found
        origins.setdefault(host, []).append(tls.origins[host, port])
    for host, origin in traffic.origins.items():
        origins.setdefault(host, []).append(origin)
    by_host = {
        host: Attached(sections.get(host, {}), traffic.budgets.get(host), tuple(origins[host]))
        for host in sorted({*sections, *traffic.budgets})
        if host
    }
    return Attachments(by_host, (*tls.problems, *traffic.problems), traffic.sessions)


def with_attached(policy: TrafficPolicy, attached: Attached, port: str) -> TrafficPolicy:
    """The policy of a port, called `port`. What a DestinationRule says comes first."""
    tls = attached.tls.get(port) or attached.tls.get("")
    if tls is not None and policy.tls is None and policy.mutual_tls is None:
        policy = replace(policy, tls=tls)
    if attached.budget is not None and policy.retry_budget is None:
        policy = replace(policy, retry_budget=attached.budget)
    return policy
