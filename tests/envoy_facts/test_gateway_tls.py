"""Facts of Envoy: a gateway chooses its certificate by the name the client asks for."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from support.certificates import TestAuthority
from support.envoy import free_port
from support.loopback import Connection
from support.proxy import running_view
from support.views import gateway, gateway_port, rule, virtual_host
from weft.mesh.routes.rules import Respond
from weft.mesh.views import Certificate, GatewayServer
from weft.model.origin import Origin


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.example.com", "a.example.com"),
        ("A.Example.com", "a.example.com"),
        ("b.example.com", "*.example.com"),
        ("c.elsewhere.com", None),
    ],
)
async def test_certificates_are_chosen_by_name(name: str, expected: str | None, tmp_path: Path) -> None:
    port, public = free_port(), TestAuthority()
    certificates = []
    for number, host in enumerate(("a.example.com", "*.example.com")):
        leaf = public.issue(dns=(host,))
        certificates.append(Certificate(f"default/{number}", leaf.chain, leaf.key, Origin("secret.yaml", 1)))
    servers = (
        GatewayServer("wild", "*.example.com", ("default/1",)),
        GatewayServer("a", "a.example.com", ("default/0",)),
    )
    ours = virtual_host([rule(Respond(299))], domains=("*.example.com",), port=443)
    listener = gateway_port(port, port=443, protocol="HTTPS", servers=servers, virtual_hosts=(ours,))
    context = ssl.create_default_context(cadata=public.bundle.decode())
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    seen = None
    async with running_view(gateway(listener, certificates=tuple(certificates)), tmp_path):
        with contextlib.suppress(OSError, ssl.SSLError):
            async with Connection(port, context, name) as client:
                tls = client.writer.get_extra_info("ssl_object")
                assert tls.version() == "TLSv1.3"
                certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
                names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                seen = names.get_values_for_type(x509.DNSName)[0]
                assert (await client.request("/", name)).status == 299
    assert seen == expected
