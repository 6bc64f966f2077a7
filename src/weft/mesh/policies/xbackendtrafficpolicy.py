"""XBackendTrafficPolicy: how many retries a Service bears, and whether clients stay at one of its instances.

https://gateway-api.sigs.k8s.io/geps/gep-3388/ and https://gateway-api.sigs.k8s.io/geps/gep-1619/
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from weft.mesh.policies.scope import Policy, Scope, settle
from weft.mesh.problems import problem_at
from weft.mesh.routes.sessions import ServiceSession, ServiceSessions, service_session
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import unknown_service
from weft.mesh.services.service import Frontend, RetryBudget
from weft.mesh.services.turning import carries_requests
from weft.model.document import Document
from weft.model.origin import FieldPath, Origin
from weft.model.problem import Problem
from weft.schema.kinds import xbackendtrafficpolicy as api
from weft.schema.kinds.sessionpersistence import SessionPersistence
from weft.schema.wording import nearest_name

PolicyDocument = Document[api.XBackendTrafficPolicySpec]


@dataclass(frozen=True, slots=True, eq=False)
class TrafficPolicies:
    """Retry budgets by the full name of the service, and where they are said; and sessions. Compared by identity."""

    budgets: Mapping[str, RetryBudget] = field(default_factory=lambda: MappingProxyType({}))
    origins: Mapping[str, Origin] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[Problem, ...] = ()
    sessions: ServiceSessions = ()


NO_TRAFFIC_POLICIES = TrafficPolicies()


def build_traffic_policies(documents: tuple[PolicyDocument, ...], catalog: Catalog) -> TrafficPolicies:
    """What is in force; of two policies for one Service the oldest is."""
    given, problems = [], []
    for document in documents:
        namespace = document.key.namespace
        for index, target in enumerate(document.spec.target_refs):
            path: FieldPath = ("spec", "targetRefs", index, "name")
            frontend = catalog.named(target.name, namespace)
            if frontend is None:
                near = nearest_name(target.name, catalog.names_in(namespace))
                problems.append(unknown_service(document, path, target.name, namespace, near))
            elif document.spec.session_persistence is not None and not any(map(carries_requests, frontend.ports)):
                message = f"no port of {frontend.key} carries HTTP, so nobody has a session with it"
                problems.append(problem_at(document, path, "not-http", message, "a Service with a port for HTTP"))
            given.append(Policy(Scope(namespace, target=f"Service {target.name}"), document))
    expected = "one XBackendTrafficPolicy for each Service"
    settled, conflicts = settle(given, ("spec", "targetRefs"), "policy-conflict", expected)
    budgets: dict[str, RetryBudget] = {}
    origins: dict[str, Origin] = {}
    sessions: list[ServiceSession] = []
    for policy in settled:
        frontend = catalog.named(policy.scope.target.removeprefix("Service "), policy.scope.namespace)
        constraint = policy.document.spec.retry_constraint
        if frontend is not None and constraint is not None:
            budgets[frontend.host] = _budget(constraint)
            origins[frontend.host] = policy.document.origin
        if frontend is not None and policy.document.spec.session_persistence is not None:
            sessions.append(_session(policy.document, frontend))
    found = (MappingProxyType(budgets), MappingProxyType(origins), (*conflicts, *problems))
    return TrafficPolicies(*found, tuple(sorted(sessions, key=lambda session: session[0])))


def _session(document: PolicyDocument, frontend: Frontend) -> ServiceSession:
    """The session of one Service. The first that a policy names has the name that it gives, so that each is told apart:
    a client may bring back those of several."""
    spec = document.spec.session_persistence or SessionPersistence()
    first = document.spec.target_refs[0].name == frontend.name
    return service_session(spec, frontend.host, alone=first)


def _budget(constraint: api.RetryConstraint) -> RetryBudget:
    rate = constraint.min_retry_rate
    return RetryBudget(float(constraint.budget.percent), max(1, math.ceil(rate.count / rate.interval)))
