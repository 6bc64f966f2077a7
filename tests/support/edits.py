"""Edits of a mesh: variants of documents and workloads, and a mesh in which now these and now those are there."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from support.corpus import with_certificate
from support.meshdocs import gateway_workload, upstream, workload
from weft.model.document import Document, ObjectKey
from weft.model.locality import Locality
from weft.model.snapshot import ConfigSnapshot, workload_order
from weft.model.workload import Scope, SocketAddress, Workload, WorkloadPort, WorkloadState
from weft.schema.decode import decode_documents

VARIANTS = Path(__file__).with_name("variants.yaml")
_TCP = WorkloadPort(5432, SocketAddress("127.0.0.1", 8432), SocketAddress("127.0.0.1", 20432))
_WEB = WorkloadPort(9080, SocketAddress("127.0.0.1", 8081), SocketAddress("127.0.0.1", 20081), "web")


@functools.cache
def document_variants() -> dict[ObjectKey, tuple[Document[object], ...]]:
    """The variants of every document, by its key."""
    found: dict[ObjectKey, list[Document[object]]] = {}
    for number, text in enumerate(with_certificate(VARIANTS.read_text()).split("\n---\n")):
        decoded = decode_documents(text, f"{number:02}.yaml")
        assert len(decoded.documents) == 1, [str(problem) for problem in decoded.problems]
        document = decoded.documents[0]
        found.setdefault(document.key, []).append(document)
    return {key: tuple(variants) for key, variants in found.items()}


@functools.cache
def workload_variants() -> dict[str, tuple[Workload, ...]]:
    """The variants of every workload, by its proxy."""
    a, b = workload("a", number=1), workload("b", number=2)
    client = workload("client", number=5, ports=())
    variants = (
        (a, dataclasses.replace(a, state=WorkloadState.UNHEALTHY), dataclasses.replace(a, ports=(_WEB, _TCP))),
        (workload("a", "v2", number=3), workload("a", "v2", number=4, service_account="b")),
        (dataclasses.replace(a, namespace="other"), dataclasses.replace(a, namespace="other", labels=b.labels)),
        (
            b,
            dataclasses.replace(b, state=WorkloadState.DRAINING),
            dataclasses.replace(b, ports=(_TCP,)),
            dataclasses.replace(b, locality=Locality("eu", "a")),
        ),
        *[
            (workload("b", f"v{number}", number=number, locality=Locality("eu", zone)), workload("b", f"v{number}"))
            for number, zone in ((6, "a"), (7, "b"))
        ],
        (
            client,
            dataclasses.replace(client, scope=Scope.ALL),
            dataclasses.replace(client, locality=Locality("eu", "a")),
            dataclasses.replace(client, uses=("a", "nobody", "b.other")),
            dataclasses.replace(client, uses=("c",), upstreams=(upstream("a", 5432), upstream("a", 80, 5433))),
            dataclasses.replace(client, labels=(("app", "client"), ("version", "v2")), scope=Scope.ALL),
        ),
        (
            dataclasses.replace(client, namespace="other"),
            dataclasses.replace(client, namespace="other", scope=Scope.ALL),
            dataclasses.replace(client, namespace="other", uses=("a", "a.default")),
        ),
        (gateway_workload("edge"), gateway_workload("edge", offset=10000)),
    )
    return {versions[0].proxy: versions for versions in variants}


class EditedMesh:
    """A mesh that changes one object at a time. What does not change stays the same object, as with the collector."""

    def __init__(self) -> None:
        self.documents: dict[ObjectKey, Document[object]] = {}
        self.workloads: dict[str, Workload] = {name: each[0] for name, each in workload_variants().items()}

    def put_document(self, key: ObjectKey, variant: int, *, created: float, again: bool) -> None:
        """A variant of a document, `created` then; the same object as any time before if it is there `again`."""
        chosen = _created(key, variant % len(document_variants()[key]), created)
        self.documents[key] = chosen if again else dataclasses.replace(chosen)

    def put_workload(self, proxy: str, variant: int, *, again: bool) -> None:
        """A variant of a workload."""
        versions = workload_variants()[proxy]
        chosen = versions[variant % len(versions)]
        self.workloads[proxy] = chosen if again else dataclasses.replace(chosen)

    def snapshot(self, revision: int) -> ConfigSnapshot:
        """What is there now, sorted as the collector does it."""
        documents = tuple(document for _, document in sorted(self.documents.items()))
        workloads = tuple(sorted(self.workloads.values(), key=workload_order))
        return ConfigSnapshot(revision, documents, workloads)


@functools.cache
def _created(key: ObjectKey, variant: int, created: float) -> Document[object]:
    return dataclasses.replace(document_variants()[key][variant], created=created)
