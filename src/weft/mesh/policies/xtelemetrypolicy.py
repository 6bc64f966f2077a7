"""XTelemetryPolicy: which traces the proxies of a Gateway send, over what a Telemetry says of them.

https://gateway-api.sigs.k8s.io/geps/gep-4768/
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from weft.mesh.policies.referencegrant import Grants
from weft.mesh.policies.scope import Policy, Scope, settle
from weft.mesh.problems import problem_at
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import unknown_port, unknown_service
from weft.mesh.services.service import BackendKey, Protocol
from weft.mesh.signals import Collector, CustomTag, Signals, Tracing
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.kinds import xtelemetrypolicy as api
from weft.schema.kinds.httproute import Fraction
from weft.schema.rules.xtelemetrypolicy import ATTRIBUTES
from weft.schema.wording import nearest_name

PolicyDocument = Document[api.XTelemetryPolicySpec]
_SOURCE = (api.EXPERIMENTAL_GROUP, "XTelemetryPolicy")
_PATH: FieldPath = ("spec", "tracing")


@dataclass(frozen=True, slots=True, eq=False)
class GatewayTracing:
    """The traces of a Gateway: none if `tracing` is None. `service` is the name that spans have instead of the
    gateway's own, if one is given. Compared by identity."""

    document: PolicyDocument
    tracing: Tracing | None
    service: str = ""

    @property
    def words(self) -> str:
        """What it comes to, for people."""
        return "off" if self.tracing is None else f"{self.tracing.sampling:g} %"


@dataclass(frozen=True, slots=True, eq=False)
class GatewayTracings:
    """By the Gateway's name, ``namespace/name``; those that leave traces to others are not there."""

    by_gateway: Mapping[str, GatewayTracing]
    problems: tuple[Problem, ...] = ()


NO_POLICIES = GatewayTracings(MappingProxyType({}))


def build_gateway_tracings(
    documents: tuple[PolicyDocument, ...], catalog: Catalog, grants: Grants, gateways: Collection[str]
) -> GatewayTracings:
    """The policies in force; of two for one of the `gateways` the oldest is."""
    given = [
        Policy(Scope(document.key.namespace, target=f"Gateway {document.key.namespace}/{target.name}"), document)
        for document in documents
        for target in document.spec.target_refs
    ]
    policies, problems = settle(given, ("spec", "targetRefs"), "policy-conflict", "one policy for each Gateway")
    found: list[Problem] = [*problems, *(bad for each in documents for bad in _unknown_gateways(each, gateways))]
    compiled: dict[int, GatewayTracing | None] = {}
    by_gateway: dict[str, GatewayTracing] = {}
    for policy in policies:
        document = policy.document
        if id(document) not in compiled:
            compiled[id(document)] = _compile(document, catalog, grants, found)
        tracing = compiled[id(document)]
        if tracing is not None:
            by_gateway[policy.scope.target.removeprefix("Gateway ")] = tracing
    return GatewayTracings(MappingProxyType(by_gateway), tuple(found))


def _unknown_gateways(document: PolicyDocument, gateways: Collection[str]) -> list[Problem]:
    namespace = document.key.namespace
    return [
        problem_at(
            document,
            ("spec", "targetRefs", index, "name"),
            "unknown-gateway",
            f"there is no Gateway '{target.name}' of this mesh in namespace '{namespace}'",
            "the name of a Gateway",
            nearest=nearest_name(target.name, [each.partition("/")[2] for each in gateways]),
        )
        for index, target in enumerate(document.spec.target_refs)
        if f"{namespace}/{target.name}" not in gateways
    ]


def _compile(
    document: PolicyDocument, catalog: Catalog, grants: Grants, problems: list[Problem]
) -> GatewayTracing | None:
    spec = document.spec.tracing
    if spec.mode == "ImplementationDefault":
        return None
    if spec.mode == "Disabled" or spec.provider is None:
        return GatewayTracing(document, None)
    found = _collector(document, spec.provider, catalog, grants)
    if isinstance(found, Problem):
        problems.append(found)
        return GatewayTracing(document, None)
    collector, grpc = found
    parent = spec.parent_based_sampling
    tracing = Tracing(
        "opentelemetry-grpc" if grpc else "opentelemetry-http",
        collector,
        headers=tuple((header.name.lower(), header.value) for header in spec.provider.headers),
        tags=tuple(_tag(attribute) for attribute in spec.attributes),
        strangers_decide=parent is not None and parent.mode == "Enabled",
    )
    if spec.sampling_rate is not None:
        tracing = replace(tracing, sampling=_percent(spec.sampling_rate))
    return GatewayTracing(document, tracing, spec.service_name)


def _collector(
    document: PolicyDocument, provider: api.TracingProvider, catalog: Catalog, grants: Grants
) -> tuple[Collector, bool] | Problem:
    """Where spans go, and whether over gRPC."""
    reference, path = provider.backend_ref, (*_PATH, "provider", "backendRef")
    namespace = reference.namespace or document.key.namespace
    key = ObjectKey("", "Service", namespace, reference.name)
    if not grants.allow(_SOURCE, document.key.namespace, key):
        message = f"no ReferenceGrant in namespace '{namespace}' lets it refer to {key}, so nothing is sent there"
        return problem_at(document, path, "reference-not-granted", message, "a ReferenceGrant there")
    frontend = catalog.named(key.name, namespace)
    if frontend is None:
        near = nearest_name(key.name, catalog.names_in(namespace))
        return unknown_service(document, (*path, "name"), key.name, namespace, near)
    port = frontend.port(reference.port or 0)
    if port is None:
        return unknown_port(document, (*path, "port"), frontend, reference.port or 0, ", so nothing is sent there")
    return Collector(BackendKey(frontend.host, port.number)), port.protocol is Protocol.HTTP2


def _percent(rate: Fraction) -> float:
    return 100 * rate.numerator / rate.denominator


def _tag(attribute: api.Attribute) -> CustomTag:
    if attribute.source_type == "Header":
        return CustomTag(attribute.name, "header", attribute.header_name.lower())
    if attribute.source_type == "Literal":
        return CustomTag(attribute.name, "literal", attribute.literal_value)
    return CustomTag(attribute.name, "formatter", ATTRIBUTES[attribute.attribute_key])


def with_gateway_tracing(signals: Signals, tracing: GatewayTracing) -> Signals:
    """`signals` of a gateway with the traces of its policy."""
    return replace(signals, tracing=tracing.tracing)
