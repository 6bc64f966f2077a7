"""A Secret that cannot be read: it is there, its listener stays as it is, and no proxy is told to forget it."""

from __future__ import annotations

import base64
from dataclasses import replace

from support.certificates import TestAuthority
from support.meshdocs import documents
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.views import Certificate, EdgeTls
from weft.model.snapshot import ConfigSnapshot
from weft.model.unreadable import Unreadable
from weft.sources.stored import document_from_entry, put_document
from weft.store.memory import MemoryStore
from weft.store.sealing.sealed import SealedStore
from weft.store.sealing.wrappers import EnvironmentWrapper

LEAF = TestAuthority().issue(dns=("x.example",))
PEM, KEY = (base64.b64encode(part).decode() for part in (LEAF.chain, LEAF.key))
SECRET = f"""
apiVersion: v1
kind: Secret
metadata: {{name: cert, namespace: default}}
type: kubernetes.io/tls
data: {{tls.crt: {PEM}, tls.key: {KEY}}}
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: default}
spec:
  gatewayClassName: weft
  listeners:
  - {name: s, port: 443, protocol: HTTPS, hostname: x.example, tls: {certificateRefs: [{name: cert}]}}
"""


async def test_a_secret_without_its_key_is_there_and_unknown() -> None:
    below = MemoryStore()
    store = SealedStore(below, EnvironmentWrapper("KEY", {"KEY": "00" * 32}))
    await store.open()
    (secret,) = documents(SECRET)
    await store.write([put_document(secret, 3)])
    other = SealedStore(below, EnvironmentWrapper("KEY", {"KEY": "11" * 32}))
    await other.open()
    (entry,) = (await other.list("documents"))[1]
    document, problems = document_from_entry(entry)
    assert document is not None
    assert document.key == secret.key
    assert document.spec == Unreadable("Secret")
    assert [(one.code, one.object) for one in problems] == [("secret-unreadable", secret.key)]
    assert KEY not in repr((document, document.text, problems))
    assert document_from_entry((await store.list("documents"))[1][0])[0] is not None


def test_its_listener_stays_and_its_certificate_is_not_sent() -> None:
    (gateway,), (secret,) = documents(GATEWAY), documents(SECRET)
    closed = replace(secret, spec=Unreadable("Secret"), text="{}")
    found = []
    for one in (secret, closed):
        memo = Memo()
        memo.begin()
        mesh = build_mesh(ConfigSnapshot(1, (gateway, one)), memo)
        assert [problem.code for problem in mesh.problems] == []
        (listener,) = mesh.gateways.by_name["default/front"].listeners
        found.append(listener)
    readable, unreadable = found
    assert readable.tls
    assert unreadable.tls
    assert readable.tls.certificates[0].chain
    assert unreadable.tls.certificates == (Certificate("default/cert", b"", b"", closed.origin),)
    assert (readable.name, readable.hostnames, readable.port) == (
        unreadable.name,
        unreadable.hostnames,
        unreadable.port,
    )
    assert EdgeTls().unsent == ()
