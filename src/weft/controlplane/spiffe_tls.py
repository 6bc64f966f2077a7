"""TLS to a server that proves a SPIFFE ID and no name of a host (SPIFFE_Federation, profile https_spiffe)."""

from __future__ import annotations

import ssl
from typing import Any


def spiffe_client_context(roots: str, spiffe_id: str) -> ssl.SSLContext:
    """Trusts `roots` (PEM) and nobody else, and ends the hand-shake unless the server's certificate has exactly one URI
    name, `spiffe_id`: not a byte is sent before."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=roots)

    class Checked(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            names = uri_names(self.getpeercert())
            if names != (spiffe_id,):
                raise ssl.SSLCertVerificationError(f"the server proves {names!a}, not {spiffe_id}")

    context.sslobject_class = Checked
    return context


def uri_names(certificate: Any) -> tuple[str, ...]:
    """The URI names of a certificate, as `ssl` gives it."""
    names = (certificate or {}).get("subjectAltName", ())
    return tuple(str(value) for kind, value in names if kind == "URI")
