"""Client certificates of every wrong kind, against each port of a running mesh that takes certificates."""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography import x509
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from security.test_certificates import answered, ports
from support.false_certificates import Issuer, Wanted, foreign, make, malformed, own_issuer, unregistered
from support.mesh import Mesh
from weft.discovery.grpc_tls import grpc
from weft.discovery.server import SERVICE
from weft.xds.snapshot import CLUSTER

URI = "spiffe://cluster.local/ns/default/sa/client"


def own(mesh: Mesh) -> Issuer:
    return own_issuer((mesh.home / "control-plane/ca/intermediate.pem").read_text())


def root(mesh: Mesh) -> x509.Certificate:
    return x509.load_pem_x509_certificate((mesh.home / "control-plane/trust-bundle.pem").read_bytes())


def stolen(mesh: Mesh) -> str:
    files = mesh.home / "workloads/default/client/certs/..data"
    return (files / "key.pem").read_text() + (files / "chain.pem").read_text()


def strangers(mesh: Mesh) -> dict[str, str]:
    """What no port takes."""
    return {**foreign(URI, root(mesh), own(mesh), stolen(mesh)), **malformed(URI, own(mesh))}


def shows(mesh: Mesh, pem: str, directory: Path, alpn: str = "http/1.1") -> ssl.SSLContext:
    path = directory / "shown.pem"
    path.write_text(pem)
    context = ssl.create_default_context(cafile=str(mesh.home / "control-plane/trust-bundle.pem"))
    context.check_hostname = False
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(path)
    context.set_alpn_protocols([alpn])
    return context


def xds_answer(mesh: Mesh, pem: str, node: str = "client.default") -> tuple[str, str]:
    """What an xDS stream ends with, and its words; ``("OK", "")`` if it was answered."""
    key, _, chain = pem.partition("-----END PRIVATE KEY-----\n")
    bundle = (mesh.home / "control-plane/trust-bundle.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials(bundle, (key + "-----END PRIVATE KEY-----\n").encode(), chain.encode())
    options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.enable_retries", 0)]
    request = DeltaDiscoveryRequest(node=Node(id=node), type_url=CLUSTER).SerializeToString()
    with grpc.secure_channel(mesh.endpoints()["xds"], credentials, options) as channel:
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{SERVICE}/DeltaAggregatedResources"
        )
        try:
            next(iter(method(iter([request]), timeout=20)))
        except grpc.RpcError as error:
            return str(error.code().name), str(error.details())
    return "OK", ""


def test_a_good_one_made_by_hand_gets_in(target: Mesh, tmp_path: Path) -> None:
    """What all others differ from."""
    good = make(own(target), Wanted([URI]))
    for address, alpn, request in ports(target).values():
        assert answered(address, shows(target, good, tmp_path, alpn), request)


def test_an_inbound_port_takes_none(target: Mesh, tmp_path: Path) -> None:
    address, alpn, request = ports(target)["inbound"]
    found = strangers(target)
    got_in = [name for name, pem in found.items() if answered(address, shows(target, pem, tmp_path, alpn), request)]
    assert got_in == []


def test_xds_takes_none(target: Mesh) -> None:
    found = {**strangers(target), **unregistered(URI, own(target))}
    answers = {name: xds_answer(target, pem) for name, pem in found.items()}
    assert [name for name, (code, _) in answers.items() if code not in {"PERMISSION_DENIED", "UNAVAILABLE"}] == []


def test_the_agent_api_takes_none(target: Mesh, tmp_path: Path) -> None:
    address, alpn, request = ports(target)["agent"]
    found = {**strangers(target), **unregistered(URI, own(target))}
    answers = {name: answered(address, shows(target, pem, tmp_path, alpn), request) for name, pem in found.items()}
    assert [name for name, answer in answers.items() if answer and answer.split()[1] not in {b"401", b"403"}] == []
