"""What the mesh says of a document in the admin API: the parents of a route, the state of a Gateway, of a policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from weft.mesh.gateways.status import (
    attached_sets,
    gateway_conditions,
    gateways_by_service,
    listener_statuses,
    listeners_mapping,
    mode_conditions,
    set_conditions,
)
from weft.mesh.idle import NOT_SERVED
from weft.mesh.model import Mesh
from weft.mesh.policies.backendtlspolicy import ancestors_of
from weft.mesh.policies.servicepolicies import KINDS as SERVICE_KINDS
from weft.mesh.policies.servicestatus import ancestors_mapping
from weft.mesh.routes.acceptance import RouteStatus
from weft.mesh.routes.status import conditions_mapping, parents_mapping
from weft.model.document import Document, ObjectKey
from weft.model.problem import Problem
from weft.schema.kinds.backendtlspolicy import BackendTlsPolicySpec
from weft.schema.kinds.gateway import GatewaySpec, ListenerSetSpec
from weft.schema.kinds.xbackendtrafficpolicy import XBackendTrafficPolicySpec


class Acceptance:
    """Answers for all documents of one answer; nothing before the first build. `refused` tells what documents refer to
    and weft may not read, and for which Gateways no process can be made."""

    def __init__(self, mesh: Mesh | None, refused: Iterable[Problem] = ()) -> None:
        self._mesh = mesh
        self._routes: Mapping[ObjectKey, RouteStatus] = {each.route: each for each in mesh.acceptance} if mesh else {}
        self._problems: dict[ObjectKey | None, list[Problem]] = {}
        told = (mesh.gateways, mesh.targets.attachments, mesh.service_policies) if mesh else ()
        for problem in [*refused, *(problem for each in told for problem in each.problems)]:
            self._problems.setdefault(problem.object, []).append(problem)
        idle = mesh.idle if mesh else ()
        self._by_service: Mapping[ObjectKey, Sequence[ObjectKey]] | None = None
        self._unserved = {problem.object for problem in idle if problem.code == NOT_SERVED}

    def of(self, document: Document[object]) -> dict[str, object]:
        """``parents`` of a route, ``conditions`` and ``listeners`` of a Gateway of ours, ``ancestors`` of policies
        that are attached to Services, nothing of other kinds."""
        status = self._routes.get(document.key)
        if status is not None:
            return {"parents": parents_mapping(status)}
        if self._mesh is not None and document.key in self._mesh.gateways.declared:
            problems = self._problems.get(document.key, ())
            statuses = listener_statuses(document.key, self._mesh.gateways, problems)
            if not statuses:
                return {}
            served, refers = document.key not in self._unserved, _refers(document)
            if isinstance(document.spec, ListenerSetSpec):
                conditions = set_conditions(statuses, served=served, problems=problems)
            else:
                conditions = gateway_conditions(statuses, served=served, refers=refers, problems=problems)
            if isinstance(document.spec, GatewaySpec):
                conditions += mode_conditions(document.spec)
            sets = attached_sets(document.key, self._mesh.gateways)
            attached: dict[str, object] = {"attachedListenerSets": sets} if sets else {}
            return {
                "conditions": conditions_mapping(conditions),
                "listeners": listeners_mapping(statuses),
                **attached,
            }
        if self._mesh is not None and isinstance(document.spec, SERVICE_KINDS):
            policies, problems = self._mesh.service_policies, self._problems.get(document.key, ())
            return {"ancestors": ancestors_mapping(document, policies, problems)}
        if self._mesh is not None and isinstance(document.spec, BackendTlsPolicySpec | XBackendTrafficPolicySpec):
            policy = cast("Document[BackendTlsPolicySpec] | Document[XBackendTrafficPolicySpec]", document)
            return {"ancestors": ancestors_of(policy, self._problems.get(document.key, ()), self._gateways())}
        return {}

    def _gateways(self) -> Mapping[ObjectKey, Sequence[ObjectKey]]:
        """The Gateways that send to each Service, found out once."""
        if self._by_service is None:
            self._by_service = gateways_by_service(self._mesh.gateways) if self._mesh is not None else {}
        return self._by_service


def _refers(document: Document[object]) -> bool:
    """Whether a Gateway names a certificate that it shows to servers."""
    tls = document.spec.tls if isinstance(document.spec, GatewaySpec) else None
    return tls is not None and tls.backend is not None and tls.backend.client_certificate_ref is not None
