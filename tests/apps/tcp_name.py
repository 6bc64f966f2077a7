"""A TCP server for tests that speaks first: its name and a newline, then whatever it receives.

With WEFT_TEST_TLS over TLS, with a certificate of its own for any name.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = os.environ.get("WORKLOAD", "?")


def tls_context() -> ssl.SSLContext:
    """A server's context with a certificate made now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    secret = key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "both.pem"
        path.write_bytes(secret + certificate.public_bytes(form))
        context.load_cert_chain(path)
    return context


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection."""
    writer.write(f"{NAME}\n".encode())
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return
    writer.close()


async def main() -> None:
    """Serve for ever."""
    context = tls_context() if os.environ.get("WEFT_TEST_TLS") else None
    host, port = os.environ.get("WEFT_HOST", "127.0.0.1"), int(os.environ["PORT"])
    server = await asyncio.start_server(serve, host, port, ssl=context)
    await server.serve_forever()


asyncio.run(main())
