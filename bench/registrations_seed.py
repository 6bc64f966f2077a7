"""Fills the home of a control plane that does not run yet: registrations, and certificates of callers."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.streams_client import ASKS
from bench.synthetic import Shape, backend, caller, caller_identity, caller_name
from weft.ca.authority import open_authority
from weft.model.identity import spiffe_id_from_text
from weft.model.workload import Workload
from weft.settings.home import Home
from weft.sources.workloads import put_workload, workload_key
from weft.store.sqlite import open_sqlite

NAMESPACE = "load-0"
FOREVER = 4e9
"""Epoch seconds."""


async def register(home: Home, workloads: list[Workload], namespace: str = NAMESPACE) -> None:
    """Write them, and close the store as a control plane does."""
    store = await open_sqlite(home.database)
    try:
        for first in range(0, len(workloads), 1000):
            batch = workloads[first : first + 1000]
            await store.write([put_workload(workload) for workload in batch])
            await store.extend({workload_key(namespace, workload.name): FOREVER for workload in batch})
    finally:
        await store.close()


async def register_services(home: Home, services: int, endpoints: int, namespace: str) -> None:
    """The instances of ``service-0`` and so on, each with an address of its own."""
    instances = [(number, copy) for number in range(services) for copy in range(endpoints)]
    workloads = [
        backend(f"service-{one}-{copy}", namespace, f"service-{one}", one * endpoints + copy) for one, copy in instances
    ]
    await register(home, workloads, namespace)


def certify(home: Home, shape: Shape, directory: Path) -> None:
    """What `bench.streams_client` reads, signed by the control plane's own authority."""
    authority = open_authority(home.ca)
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    text = request.public_bytes(serialization.Encoding.PEM).decode()
    (directory / "root.pem").write_text(authority.bundle)
    (directory / "proxy.key").touch(mode=0o600)
    (directory / "proxy.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    names = [caller_name(shape, number) for number in range(shape.callers)]
    (directory / "callers").write_text("\n".join(names))
    (directory / ASKS).touch()
    for number, name in enumerate(names):
        identity = spiffe_id_from_text(caller_identity(shape, number))
        if identity is None:
            raise ValueError(name)
        (directory / f"{number}.pem").write_text(authority.issue(text, identity, name).chain)


def main(directory: Path, count: int, streams: int) -> None:
    """`count` registrations, of which the last `streams` are callers."""
    home = Home(directory / "home")
    for below in (home.root, home.control_plane):
        below.mkdir(mode=0o700)
    shape = Shape(1, 1, streams)
    workloads = [backend(f"backend-{number}", NAMESPACE, "echo", number) for number in range(count - streams)]
    workloads += [caller(shape, number) for number in range(streams)]
    asyncio.run(register(home, workloads))
    certify(home, shape, directory)
    print(json.dumps({"socket": str(home.agent_socket)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:4]))
