"""Files as the mesh they would be: for `weft analyze` and `weft authz check`, without a control plane."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.findings.analysis.analyze import analyze
from weft.findings.analysis.subject import Subject
from weft.findings.finding import Finding, finding_from_problem
from weft.local.client import Source
from weft.local.mesh_documents import files_below, is_mesh_file
from weft.local.meshcheck import CheckedMesh, check_meshfile, with_groups
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.services.service import Protocol
from weft.model.document import Document
from weft.model.identity import DEFAULT_TRUST_DOMAIN
from weft.model.origin import Origin
from weft.model.problem import Problem, distinct
from weft.model.snapshot import ConfigSnapshot, MeshSettings, workload_order
from weft.schema.decode import Decoded, decode_texts


def mesh_of_texts(sources: Sequence[Source], namespace: str = "default") -> Mesh:
    """The mesh that documents and each weft.yaml among `sources` would be, in weft's own trust domain if none says
    another."""
    files = _read(sources, namespace)
    mesh = files.build()
    return mesh if mesh.settings.trust_domain else files.build(DEFAULT_TRUST_DOMAIN)


def analyze_texts(sources: Sequence[Source], namespace: str = "default") -> tuple[Finding, ...]:
    """Problems and findings of documents and of each weft.yaml among `sources`, with the documents it names. The worst
    first."""
    files = _read(sources, namespace)
    mesh, meshes, decoded = files.build(), files.meshes, files.decoded
    problems: Iterable[Problem] = (*mesh.problems, *mesh.idle) if mesh.workloads else mesh.problems
    for one in meshes:
        problems = tuple(one.placed(problems))
    everything = [*decoded.problems, *(problem for one in meshes for problem in one.problems), *problems]
    unprobed = tuple(found for one in meshes for found in _unprobed(one, mesh))
    subject = Subject(mesh, files.documents, (), unprobed)
    found = [*map(finding_from_problem, distinct(everything)), *analyze(subject)]
    return tuple(sorted(dict.fromkeys(found), key=lambda each: each.order))


@dataclass(frozen=True)
class _Files:
    """What files say: each weft.yaml, and the documents."""

    meshes: Sequence[CheckedMesh]
    decoded: Decoded

    @property
    def documents(self) -> tuple[Document[object], ...]:
        return tuple(sorted(self.decoded.documents, key=lambda document: document.key))

    def build(self, trust_domain: str = "") -> Mesh:
        """The mesh, in the trust domain that they say or else in `trust_domain`."""
        settings = MeshSettings(trust_domain=next((mesh.trust_domain for mesh in self.meshes), "") or trust_domain)
        workloads = tuple(sorted((one for mesh in self.meshes for one in mesh.workloads), key=workload_order))
        return build_mesh(ConfigSnapshot(1, self.documents, workloads, self.decoded.problems, settings), Memo())


def _read(sources: Sequence[Source], namespace: str) -> _Files:
    meshes = [
        check_meshfile(one.text, one.name, Path(one.name).parent)
        for one in sources
        if is_mesh_file(Path(one.name).name)
    ]
    texts = [one for one in (*sources, *_named(sources, meshes)) if not is_mesh_file(Path(one.name).name)]
    decoded = decode_texts([(one.name, one.text) for one in texts], default_namespace=namespace)
    return _Files([with_groups(mesh, decoded.documents) for mesh in meshes], decoded)


def _named(sources: Sequence[Source], meshes: Iterable[CheckedMesh]) -> Iterator[Source]:
    """The documents that a weft.yaml names and that were not given."""
    given = {Path(one.name).resolve() for one in sources}
    for path in dict.fromkeys(path for mesh in meshes for path in mesh.documents):
        for file in files_below(path) if path.is_dir() else [path]:
            if file.resolve() not in given:
                given.add(file.resolve())
                yield Source(str(file), file.read_text("utf-8-sig"))


def _unprobed(checked: CheckedMesh, mesh: Mesh) -> Iterator[tuple[str, Origin]]:
    """Workloads behind HTTP ports of Services that say nothing of their health."""
    for index in checked.unprobed:
        one = checked.workloads[index]
        ports = [port for each in mesh.catalog.selecting(one.namespace, one.labels) for port in each.ports]
        if any(port.protocol in (Protocol.HTTP, Protocol.HTTP2) for port in ports):
            yield one.name, checked.lines.origin("workloads", index)
