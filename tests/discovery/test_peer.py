"""Who a peer may be: the workload of its own name, identity and trust domain."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support.discovery import ProxyAuthority
from weft.ca.authority import open_authority
from weft.discovery.peer import IdentityRefusedError, Peer, check_peer, peer_from_auth_context, trust_domain_of
from weft.model.identity import SpiffeId
from weft.model.workload import Workload

WEB = Workload("web", "shop", "web")


def test_a_peer_of_the_same_name_in_another_trust_domain_is_refused() -> None:
    """A root may stand above several meshes."""
    for domain in ("other.example", "cluster.local."):
        peer = Peer("web.shop", SpiffeId(domain, "shop", "web"), 10.0)
        with pytest.raises(IdentityRefusedError, match="of another trust domain"):
            check_peer(peer, "web.shop", WEB, 1.0, "cluster.local")
        assert check_peer(peer, "web.shop", WEB, 1.0, domain) is WEB


def test_the_trust_domain_is_that_of_the_one_name_of_a_certificate() -> None:
    authority, own = ProxyAuthority(), "spiffe://cluster.local/ns/a/sa/b"
    assert trust_domain_of(authority.issue("x", own).chain) == "cluster.local"
    for uris in ("", f"{own} {own}2", "https://cluster.local/"):
        assert trust_domain_of(authority.issue("x", uris).chain) == ""


def test_a_pods_certificate_is_for_that_pod() -> None:
    """The next Pod of its name is somebody else, and so is a workload that an agent has registered."""
    identity = SpiffeId("cluster.local", "shop", "web")
    pod = Workload("web", "shop", "web", pod="5f0d")
    for uid, workload in (("5f0d", WEB), ("", pod), ("5f0e", pod)):
        peer = Peer("web.shop", identity, 10.0, pod=uid)
        with pytest.raises(IdentityRefusedError, match="its certificate was issued to"):
            check_peer(peer, "web.shop", workload, 1.0, "cluster.local")
    assert check_peer(Peer("web.shop", identity, 10.0, pod="5f0d"), "web.shop", pod, 1.0, "cluster.local") is pod


def test_a_name_longer_than_a_common_name_is_read_as_well(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    for length in (3, 61, 63):
        proxy = f"{'w' * length}.{'n' * 63}" if length == 63 else f"{'w' * length}.ns"
        identity = SpiffeId("cluster.local", proxy.partition(".")[2], "web")
        issued = open_authority(tmp_path / "ca").issue(pem, identity, proxy, pod="5f0d")
        peer = peer_from_auth_context({"x509_pem_cert": [issued.chain.encode()]})
        assert (peer.name, peer.identity, peer.pod) == (proxy, identity, "5f0d")
