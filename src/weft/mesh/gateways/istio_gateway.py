"""Istio's Gateways: what each server of a document comes to as a listener.

https://istio.io/latest/docs/reference/config/networking/gateway/
"""

from __future__ import annotations

from weft.mesh.gateways.declared import DeclaredGateway, Made
from weft.mesh.gateways.http3 import asks_for_http3, http3_problems, offering
from weft.mesh.gateways.listeners import (
    Admission,
    CredentialName,
    Listener,
    ListenerHost,
    ListenerTls,
    Protocol,
)
from weft.mesh.memo import Memo
from weft.mesh.views import ClientCheck, TlsVersion
from weft.model.document import Document
from weft.model.labels import labels_from_mapping
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.kinds.istiogateway import REQUESTS, GatewayServerSpec, IstioGatewaySpec, ServerTls
from weft.schema.rules.istiogateway import ASKS, ENDS

IstioGatewayDocument = Document[IstioGatewaySpec]
_LOWEST: dict[str, TlsVersion] = {"TLSV1_3": "1.3"}
_HIGHEST: dict[str, TlsVersion] = {"TLSV1_2": "1.2"}


def make_istio_gateways(documents: tuple[IstioGatewayDocument, ...], memo: Memo) -> Made:
    """All of them: whose labels they select says who serves them."""
    made = tuple(memo(_gateway, document) for document in documents)
    asking = [each for each in documents if asks_for_http3(each)]
    return Made(made, problems=tuple([problem for each in asking for problem in memo(_http3_problems, each)]))


def _http3_problems(document: IstioGatewayDocument) -> tuple[Problem, ...]:
    listeners = _listeners(document)
    places: list[tuple[FieldPath, Listener]] = [
        (("spec", "servers", index), each) for index, each in enumerate(listeners)
    ]
    return tuple(http3_problems(document, places, written=False))


def _listeners(document: IstioGatewayDocument) -> tuple[Listener, ...]:
    names: set[str] = set()
    listeners = []
    for index, server in enumerate(document.spec.servers):
        name = server.port.name or server.name or f"{server.port.protocol.lower()}-{server.port.number}"
        name = f"{name}-{index}" if name in names else name
        names.add(name)
        listeners.append(_listener(document, index, server, name))
    return tuple(listeners)


def _gateway(document: IstioGatewayDocument) -> DeclaredGateway:
    listeners = _listeners(document)
    if asks_for_http3(document):
        listeners = offering(listeners)
    return DeclaredGateway(
        name=f"{document.key.namespace}/{document.key.name}",
        document=document,
        listeners=listeners,
        written=tuple(each.name for each in listeners),
        selector=labels_from_mapping(document.spec.selector),
    )


def _listener(document: IstioGatewayDocument, index: int, server: GatewayServerSpec, name: str) -> Listener:
    key, tls, protocol = document.key, server.tls, protocol_of(server)
    path: FieldPath = ("spec", "servers", index)
    ends = tls is not None and tls.mode in (*ENDS, "ISTIO_MUTUAL") and protocol in ("HTTPS", "TLS")
    return Listener(
        name=name,
        port=server.port.number,
        protocol=protocol,
        hosts=tuple(dict.fromkeys(_host(host, key.namespace) for host in server.hosts)),
        gateway=f"{key.namespace}/{key.name}",
        object=key,
        origin=document.at(*path),
        server=f"{key.namespace}/{key.name}/{name}",
        tls=_tls(tls, (*path, "tls")) if tls is not None and ends else None,
        isolated=False,
        redirects=protocol == "HTTP" and tls is not None and tls.https_redirect,
        automatic=protocol == "TLS" and tls is not None and tls.mode == "AUTO_PASSTHROUGH",
        bind=server.bind,
    )


def protocol_of(server: GatewayServerSpec) -> Protocol:
    """What a server carries: HTTPS whose TLS does not end here carries connections, as TCP with TLS does."""
    protocol = server.port.protocol
    if protocol in REQUESTS:
        return "HTTP"
    passes = server.tls is None or server.tls.mode in ("PASSTHROUGH", "AUTO_PASSTHROUGH")
    if protocol == "HTTPS":
        return "TLS" if passes else "HTTPS"
    return "TLS" if protocol == "TLS" or server.tls is not None else "TCP"


def _host(text: str, own: str) -> ListenerHost:
    namespace, _, host = text.rpartition("/")
    if namespace in ("", "*"):
        return ListenerHost(host)
    return ListenerHost(host, Admission(namespaces=(own if namespace == "." else namespace,)))


def _tls(tls: ServerTls, path: FieldPath) -> ListenerTls:
    if tls.mode == "ISTIO_MUTUAL":
        return ListenerTls(mesh=True)
    named = [(tls.credential_name, (*path, "credentialName"))] if tls.credential_name else []
    named += [(name, (*path, "credentialNames", index)) for index, name in enumerate(tls.credential_names)]
    credentials = [CredentialName(name, where) for name, where in named]
    clients = None
    if tls.mode in ASKS:
        own = not tls.ca_cert_credential_name
        vouching = (tls.ca_cert_credential_name, (*path, "caCertCredentialName")) if not own else named[0]
        credentials.append(CredentialName(*vouching, clients=True, own=own))
        clients = ClientCheck(
            roots="",
            required=tls.mode == "MUTUAL",
            names=tls.subject_alt_names,
            spki=tls.verify_certificate_spki,
            hashes=tls.verify_certificate_hash,
        )
    return ListenerTls(
        lowest=_LOWEST.get(tls.min_protocol_version, "1.2"),
        highest=_HIGHEST.get(tls.max_protocol_version, "1.3"),
        ciphers=tls.cipher_suites,
        clients=clients,
        credentials=tuple(credentials),
    )
