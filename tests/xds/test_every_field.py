"""Accepted means in force: every decoded field is read by the mesh compiler, every mesh value's by an encoder.

The classes of both are given fields that note who reads them, and the corpus is compiled. A field that no document of
the corpus makes anybody read is either not used, or the corpus lacks a document that uses it.
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest

import weft
from support.corpus import (
    EVERYTHING,
    INPUTS,
    compile_mesh,
    documents_of,
    workloads_for,
    world_documents,
    world_workloads,
)
from support.signals import TRACED, encoded, with_tracing
from weft.mesh.views import ProxyView
from weft.model.distrust import Distrust, Ended
from weft.schema.kinds.workloadgroup import (
    GroupMetadata,
    GroupTemplate,
    HttpProbe,
    ProbeHeader,
    ReadinessProbe,
    TcpProbe,
    WorkloadGroupSpec,
)
from weft.schema.registry import KINDS

PACKAGE = Path(weft.__file__).parent
WITHOUT_BACKEND = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews}]
  rules: [{backendRefs: [{name: reviews, port: 9080}, {name: nothing, port: 80}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: asks-nobody}
spec: {action: CUSTOM, provider: {name: nobody}, rules: [{}]}
"""

DISTRUSTED = (
    Distrust("service-account", "default", "till", Ended.REVOKED, 7),
    Distrust("workload", "default", "cart-1", Ended.REMOVED, 9),
)

NOT_FOR_ENVOY = {
    "SidecarView.identity": "that of its certificate",
    "GatewayView.proxy": "the name it connects under",
    "GatewayView.identity": "that of its certificate",
    "GatewayView.gateway": "for people",
    "Metrics.overrides": "agents are told",
    "Demand.object": "for people",
    "Login.object": "for people",
    "Endpoint.workload": "for people",
    "Endpoint.identity": "callers demand those of the Backend",
    "Endpoint.labels": "chose the subsets it is in",
    "Targets.subsets": "chose its Backends",
    "Targets.by_key": "its `all`, by key",
    "Targets.connect_timeout": "is in the policy of each Backend",
    "Targets.attachments": "decided its Backends",
    "Attachments.by_host": "decided Backends",
    "Attachments.problems": "for people",
    "Attachments.sessions": "are in the rules",
    "WeightedBackend.session": "is in the rule of its route",
    "Attached.tls": "decided the Backend's transport",
    "Attached.budget": "is in the policy of each Backend",
    "Attached.origins": "are among those of each Backend",
    "Targets.nearness": "is in the policy of each Backend",
    "Resilience.fallbacks": "is in the Backend's fallbacks and the EndpointSet's",
    "Resilience.below": "is in the EndpointSet",
    "Resilience.origins": "is in the Backend's",
    "HealthCheck.port": "is in the Endpoints",
    "Overload.origin": "for people",
    "Targets.placed": "some of its `all`",
    "Nearness.failover": "decided the groups of endpoints",
    "Nearness.labels": "decided the groups of endpoints",
    "TrafficPolicy.mutual_tls": "decided the Backend's transport",
    "TrafficPolicy.tls": "decided the Backend's transport",
    "TrafficPolicy.sni": "is in the Backend's transport",
    "TrafficPolicy.accepted": "chose the identities in the Backend's transport",
    "AccessPolicy.object": "is in the names of its rules",
    "AccessRule.number": "is in the rule's name",
    "Limit.name": "is in its id",
    "Patch.object": "for people",
    "Patch.number": "for people",
    "LimitPolicy.object": "is in its name",
    "LimitPolicy.shared": "is in its kind",
    "LimitPolicy.dry_run": "is in its kind",
    "LimitPolicy.fail_open": "is in its kind",
    "AccessRule.origin": "for people",
    "TokenRule.origin": "for people",
    "Closed.object": "is in its name",
    "Closed.origin": "for people",
    "Closed.reason": "for people",
    "Rule.index": "for people",
    "Rule.place": "for people",
    "Rule.source": "chose the views it is in",
    "ForeignDomain.epoch": "is in that of the ForeignTrust",
    "ForeignDomain.namespaces": "chose the views it is in",
    "SourceMatch.labels": "chose the views it is in",
    "SourceMatch.namespace": "chose the views it is in",
}
"""Fields of mesh values that no encoder reads, and why."""
NOT_FOR_THE_MESH = {
    "MetricSelector.custom_metric": "the decoder refuses it",
    "MeshConfigSpec.enable_prometheus_merge": "agents are told",
    "MeshConfigSpec.otlp_metrics": "agents are told",
    "MeshConfigSpec.jwks_allowed_networks": "the source of keys heeds it",
    "OtlpMetrics.endpoint": "agents are told",
    "OtlpMetrics.interval": "agents are told",
    "PolicyTargetReference.group": "goes with its kind, which is read",
    "PolicyTargetReference.namespace": "the decoder refuses it",
    "TargetReference.group": "goes with its kind, which is read",
    "LimitTarget.group": "goes with its kind, which is read",
    "TargetReference.namespace": "the decoder refuses it",
    "ConsistentHash.minimum_ring_size": "an old spelling; the decoder gives the new one",
    "CorsPolicy.allow_origin": "an old spelling",
    "FaultAbort.percent": "an old spelling",
    "FaultDelay.percent": "an old spelling",
    "HttpRoute.mirror_percent": "an old spelling",
    "OutlierDetection.consecutive_errors": "an old spelling",
    "GatewayClassSpec.description": "for people",
    "Layer4RouteRule.name": "for people",
    "SmiGroup.api_group": "goes with its kind, which is read",
    "GrpcRouteFilter.type": "the field that is there says it",
    "ClientTls.ca_certificates": "the decoder takes only what it is without",
    "BackendTlsValidation.well_known_ca_certificates": "the decoder demands it where there are no references",
    "SecretSpec.type": "the keys it has decide",
    "EgressListener.capture_mode": "both of its values mean the same where applications call their proxy",
    "IngressListener.capture_mode": "both of its values mean the same where proxies are called",
    "IngressPort.name": "for people",
    "EgressPort.name": "for people",
    "EgressPort.protocol": "the service's port says what it speaks",
    "SmiPorts.name": "for people",
    **{
        f"ConfigMapData.{name}": "what the processes of Gateways are made with in a cluster"
        for name in ("deployment", "service", "service_account", "horizontal_pod_autoscaler", "pod_disruption_budget")
    },
    "GatewayClassSpec.parameters_ref": "names a ConfigMap of these",
    "ParametersReference.group": "the same",
    "ParametersReference.kind": "the same",
    "ParametersReference.name": "the same",
    "ParametersReference.namespace": "the same",
    "ServiceSpec.ip_families": "without effect here; the decoder warns",
    "ServiceSpec.ip_family_policy": "without effect here; the decoder warns",
    **{
        f"{cls.__name__}.{one.name}": "agents are told"
        for cls in (WorkloadGroupSpec, GroupMetadata, GroupTemplate, ReadinessProbe, HttpProbe, TcpProbe, ProbeHeader)
        for one in dataclasses.fields(cls)
    },
}
"""Decoded fields that the mesh does not read, and why. Those that can have one value only are not listed."""


def classes_of(hint: Any) -> Iterator[type]:
    """The dataclasses of mesh and schema that a type is made of, all the way down."""
    seen: set[type] = set()
    pending = [hint]
    while pending:
        one = pending.pop()
        if dataclasses.is_dataclass(one) and isinstance(one, type):
            if one not in seen and one.__module__.startswith(("weft.mesh.", "weft.schema.")):
                seen.add(one)
                yield one
                pending += typing.get_type_hints(one, include_extras=True).values()
        else:
            pending += get_args(one)


def can_vary(hint: Any) -> bool:
    """Whether a field of this type can have more than one value."""
    if get_origin(hint) is Annotated or get_origin(hint) is tuple:
        return can_vary(get_args(hint)[0])
    return get_origin(hint) is not Literal or len(get_args(hint)) > 1


class Noted:
    """Stands before a field of a class with slots, and notes when code of `files` reads it."""

    def __init__(self, field: Any, name: str, files: tuple[str, ...], read: set[str]) -> None:
        self._field, self._name, self._files, self._read = field, name, files, read

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        if sys._getframe(1).f_code.co_filename.startswith(self._files):
            self._read.add(self._name)
        return self._field.__get__(instance, owner)

    def __set__(self, instance: object, value: object) -> None:
        self._field.__set__(instance, value)


def unread(patch: pytest.MonkeyPatch, classes: Iterator[type], *paths: str) -> set[str]:
    """The fields of `classes` that no code below `paths` of the package reads while the corpus is compiled."""
    files = tuple(str(PACKAGE / path) for path in paths)
    read: set[str] = set()
    every: set[str] = set()
    for cls in tuple(classes):
        hints = typing.get_type_hints(cls, include_extras=True)
        for each in dataclasses.fields(cls):
            owner = next(base for base in cls.__mro__ if each.name in vars(base))
            name = f"{owner.__name__}.{each.name}"
            if can_vary(hints[each.name]) and name not in every:
                every.add(name)
                patch.setattr(owner, each.name, Noted(vars(owner)[each.name], name, files, read))
    for path in INPUTS:
        own = documents_of(path.read_text(), path.name)
        compiled = compile_mesh((*world_documents(), *own), workloads_for(own), DISTRUSTED)
        for view in compiled.views.values() if path == EVERYTHING else ():
            for tracing in TRACED:
                encoded(with_tracing(view, tracing))
    own = documents_of(WITHOUT_BACKEND, "without.yaml")
    compile_mesh((*world_documents(), *own), world_workloads()[:1], faulty=True)
    return every - read


def test_every_field_of_a_mesh_value_is_read_by_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unread(monkeypatch, classes_of(ProxyView), "xds") == set(NOT_FOR_ENVOY)


def test_every_decoded_field_is_read_by_the_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = (cls for kind in KINDS for cls in classes_of(kind.spec))
    # Conditions of patches are compared where Envoy's words are.
    assert unread(monkeypatch, decoded, "mesh", "xds/patches") == set(NOT_FOR_THE_MESH)
