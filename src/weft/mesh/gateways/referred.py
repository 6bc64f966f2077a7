"""Secrets and ConfigMaps that Gateways of both APIs refer to, as far as they would be taken."""

from __future__ import annotations

from collections.abc import Iterator

from weft.mesh.gateways.clients import validation_of_port
from weft.mesh.gateways.gateway_api import (
    ListenerDocument,
    class_problem,
    gateway_name,
    needs_certificate,
    protocol_problem,
    set_admission,
    terminates,
)
from weft.mesh.gateways.infrastructure import OF_CLASS, OF_GATEWAY, parameters_of
from weft.mesh.gateways.istio_gateway import make_istio_gateways
from weft.mesh.gateways.listeners import CredentialName
from weft.mesh.uses import AUTHORITIES, OVERLAYS, PAIR, ROOTS, Surroundings, Use
from weft.model.document import Document, ObjectKey
from weft.model.labels import selects
from weft.model.origin import FieldPath
from weft.schema.kinds.gateway import (
    CONTROLLER_NAME,
    AuthorityReference,
    GatewayClassSpec,
    GatewaySpec,
    ListenerSetSpec,
    ListenerSpec,
    SecretReference,
)
from weft.schema.kinds.istiogateway import IstioGatewaySpec


def api_gateway_uses(around: Surroundings) -> Iterator[Use]:
    """Those of the Gateways whose class is ours, and of the ListenerSets that they take."""
    classes = around.of(GatewayClassSpec)
    ours = [each for each in around.of(GatewaySpec) if class_problem(each, classes) is None]
    by_name = {gateway_name(each): each for each in ours}
    for gateway in ours:
        backend = gateway.spec.tls.backend if gateway.spec.tls is not None else None
        if backend is not None and backend.client_certificate_ref is not None:
            path: FieldPath = ("spec", "tls", "backend", "clientCertificateRef")
            yield from _of_secret(around, gateway, path, backend.client_certificate_ref)
        yield from _of_listeners(around, gateway, gateway)
    for added in around.of(ListenerSetSpec):
        reference = added.spec.parent_ref
        parent = by_name.get(f"{reference.namespace or added.key.namespace}/{reference.name}")
        if parent is not None and _takes(around, parent, added):
            yield from _of_listeners(around, added, parent)


def istio_gateway_uses(around: Surroundings) -> Iterator[Use]:
    """Those of Istio's Gateways, in the namespaces of the processes that serve them."""
    documents = around.of(IstioGatewaySpec)
    if not documents:
        return
    for gateway in make_istio_gateways(documents, around.memo).gateways:
        serving = {space for _, space, labels, _ in around.servers if selects(gateway.selector or (), labels)}
        for namespace in sorted(serving):
            for listener in gateway.listeners:
                for each in listener.tls.credentials if listener.tls is not None else ():
                    yield from _of_credential(gateway.document, each, namespace)


def parameter_uses(around: Surroundings) -> Iterator[Use]:
    """What the processes of Gateways are made with, where a GatewayClass says that they are ours."""
    classes = [each for each in around.of(GatewayClassSpec) if each.spec.controller_name == CONTROLLER_NAME]
    ours = {each.key.name for each in classes}
    for of_class in classes:
        key, _ = parameters_of(of_class)
        if key is not None:
            yield Use(key, OVERLAYS, of_class, OF_CLASS)
    for gateway in around.of(GatewaySpec):
        key, _ = parameters_of(gateway) if gateway.spec.gateway_class_name in ours else (None, None)
        if key is not None:
            yield Use(key, OVERLAYS, gateway, OF_GATEWAY)


def _takes(around: Surroundings, gateway: Document[GatewaySpec], added: Document[ListenerSetSpec]) -> bool:
    admission = set_admission(gateway.spec.allowed_listeners, gateway.key.namespace)
    return admission.admits("", added.key.namespace, around.labels)


def _of_listeners(around: Surroundings, document: ListenerDocument, gateway: Document[GatewaySpec]) -> Iterator[Use]:
    for index, spec in enumerate(document.spec.listeners):
        path: FieldPath = ("spec", "listeners", index)
        if protocol_problem(document, gateway, path, spec) is None:
            yield from _of_listener(around, document, gateway, path, spec)


def _of_listener(
    around: Surroundings,
    document: ListenerDocument,
    gateway: Document[GatewaySpec],
    path: FieldPath,
    spec: ListenerSpec,
) -> Iterator[Use]:
    references = spec.tls.certificate_refs if spec.tls is not None and needs_certificate(spec) else ()
    for place, reference in enumerate(references):
        yield from _of_secret(around, document, (*path, "tls", "certificateRefs", place), reference)
    found = validation_of_port(gateway, spec.port) if spec.protocol == "HTTPS" else None
    if found is not None:
        where, validation = found
        for place, authority in enumerate(validation.ca_certificate_refs):
            yield from _of_config_map(around, gateway, (*where, "caCertificateRefs", place), authority)
    elif references and terminates(spec) == "MUTUAL":
        yield from _of_clients(around, document, (*path, "tls", "certificateRefs", 0), references[0])


def _of_secret(
    around: Surroundings, document: Document[object], path: FieldPath, reference: SecretReference
) -> Iterator[Use]:
    key = _key(document, reference)
    if (reference.group, reference.kind) == ("", "Secret") and around.allowed(document, key):
        yield Use(key, PAIR, document, path)


def _of_clients(
    around: Surroundings, document: Document[object], path: FieldPath, reference: SecretReference
) -> Iterator[Use]:
    """Who vouches for the clients of a listener: the Secret of its certificate, or the one beside it."""
    key = _key(document, reference)
    if (reference.group, reference.kind) == ("", "Secret") and around.allowed(document, key):
        for each in (ObjectKey("", "Secret", key.namespace, f"{key.name}-cacert"), key):
            if around.allowed(document, each):
                yield Use(each, ROOTS, document, path)


def _of_config_map(
    around: Surroundings, document: Document[object], path: FieldPath, reference: AuthorityReference
) -> Iterator[Use]:
    key = ObjectKey("", "ConfigMap", reference.namespace or document.key.namespace, reference.name)
    if (reference.group, reference.kind) == ("", "ConfigMap") and around.allowed(document, key):
        yield Use(key, AUTHORITIES, document, path)


def _of_credential(document: Document[object], credential: CredentialName, namespace: str) -> Iterator[Use]:
    key = ObjectKey("", "Secret", namespace, credential.name)
    if not credential.clients:
        yield Use(key, PAIR, document, credential.path)
        return
    if credential.own:
        beside = ObjectKey("", "Secret", namespace, f"{credential.name}-cacert")
        yield Use(beside, ROOTS, document, credential.path)
    yield Use(key, ROOTS, document, credential.path)


def _key(document: Document[object], reference: SecretReference) -> ObjectKey:
    return ObjectKey("", "Secret", reference.namespace or document.key.namespace, reference.name)
