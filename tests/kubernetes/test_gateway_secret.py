"""A gateway whose certificate is a Secret of the cluster: renewed while requests run, and its key is in no file."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tools.kubernetes_cluster import ApiCluster

from support.certificates import Leaf, TestAuthority
from support.envoy import free_port
from support.http import steady_load, tls_context
from support.kubernetes import may_watch, rules
from support.mesh import Mesh, until
from weft.testing.polling import eventually

HOST = "shop.example"
AUTHORITY = TestAuthority()


def objects(port: int) -> list[dict[str, Any]]:
    own = {"namespace": "default"}
    group = "gateway.networking.k8s.io/v1"
    tls = {"certificateRefs": [{"name": "secured"}]}
    listener = {"name": "https", "port": port, "protocol": "HTTPS", "tls": tls}
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    rule = {"backendRefs": [{"name": "secured", "port": 80}]}
    found: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"app": "secured-web"}, "ports": ports}},
        {"apiVersion": group, "kind": "Gateway", "spec": {"gatewayClassName": "weft", "listeners": [listener]}},
        {"apiVersion": group, "kind": "HTTPRoute", "spec": {"parentRefs": [{"name": "secured"}], "rules": [rule]}},
    ]
    return [{**one, "metadata": {**own, "name": "secured"}} for one in found]


def secret(leaf: Leaf, name: str = "secured") -> dict[str, Any]:
    data = {"tls.crt": leaf.chain, "tls.key": leaf.key}
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    about = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": about, "type": "kubernetes.io/tls", "data": encoded}


def served(port: int, ca: Path) -> bytes:
    """The certificate that a new hand-shake is given; empty if there is none."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 5) as raw,
        tls_context(str(ca)).wrap_socket(raw, server_hostname=HOST) as tls,
    ):
        return tls.getpeercert(binary_form=True) or b""
    return b""


def shown(leaf: Leaf) -> bytes:
    return x509.load_pem_x509_certificate(leaf.chain).public_bytes(Encoding.DER)


async def test_a_certificate_of_the_cluster_is_renewed_while_requests_run(cluster: ApiCluster, tmp_path: Path) -> None:
    def apply(*given: object) -> None:
        cluster.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": list(given)})

    ca, port = tmp_path / "ca.pem", free_port()
    ca.write_bytes(AUTHORITY.bundle)
    first, second = (AUTHORITY.issue(dns=(HOST,)) for _ in range(2))
    apply(*objects(port), secret(first), secret(AUTHORITY.issue(dns=(HOST,)), "not-named"))
    account = cluster.account("gateways", [*rules(), may_watch("secrets", "secured"), may_watch("configmaps", "istio")])
    mesh = Mesh(tmp_path / "run" / "home", tmp_path / "run" / "logs")
    try:
        mesh.serve("--kubeconfig", str(account))
        mesh.echo("secured-web")
        mesh.gateway("secured")

        async def is_served(leaf: Leaf) -> bool:
            return await asyncio.to_thread(served, port, ca) == shown(leaf)

        await eventually("the certificate is served", lambda: is_served(first))

        async def renew() -> None:
            await asyncio.to_thread(apply, secret(second))
            await eventually("the next hand-shake has the new one", lambda: is_served(second))

        load = await steady_load(f"https://127.0.0.1:{port}/", None, 20, renew, context=tls_context(str(ca)), least=40)
        assert load.failures == []
        _no_key_anywhere(mesh, tmp_path / "run", first, second)
        cluster.kubectl("delete", "secret", "secured")
        until("as where no Secret ever was", lambda: "unknown-secret" in {one["code"] for one in mesh.problems()})
        apply(secret(first))
        await eventually("it is there again", lambda: is_served(first))
    finally:
        mesh.stop()
        cluster.kubectl("delete", "service,gateway,httproute,secret", "secured")


def _no_key_anywhere(mesh: Mesh, run: Path, *leaves: Leaf) -> None:
    """Not where people look, in no file of the control plane, and in no log. No other Secret was read."""
    assert [one["key"]["name"] for one in mesh.items("documents?kind=Secret")] == ["secured"]
    words = (
        "get secrets -o yaml",
        "get secret secured -o json",
        "history -o json",
        "history show 1 -o json",
        "problems",
    )
    told = "".join(mesh.weft(*each.split(), check=False).stdout for each in words)
    assert "kubernetes:Secret/default/secured" in told
    kept = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
    for leaf in leaves:
        body = "".join(leaf.key.decode().splitlines()[1:-1])
        assert body[20:60] not in told.replace("\\n", "").replace("\n", "")
        for text in (body[20:60], base64.b64encode(leaf.key).decode()[80:140]):
            assert text.encode() not in kept.replace(b"\n", b"")
            assert text not in told
    assert mesh.api("documents/secret/default/secured")["owner"] == "kubernetes"
