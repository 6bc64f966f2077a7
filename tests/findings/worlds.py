"""Small meshes for the tests of findings."""

from __future__ import annotations

from weft.findings.analysis.subject import Subject
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.model.labels import labels_from_mapping
from weft.model.snapshot import ConfigSnapshot, workload_order
from weft.model.workload import SocketAddress, Workload, WorkloadPort, WorkloadState
from weft.schema.decode import decode_documents


def service(name: str, port: str = "{name: http, port: 80, targetPort: 8080}") -> str:
    """A Service."""
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{port}]}}
"""


def virtual_service(host: str, http: str) -> str:
    """A VirtualService of one host; `http` is a rule without its route."""
    route = f"route: [{{destination: {{host: {host}}}}}]"
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}}}
spec: {{hosts: [{host}], http: [{{{http}{", " if http else ""}{"" if "route:" in http else route}}}]}}
"""


def destination_rule(host: str, spec: str, namespace: str = "default") -> str:
    """A DestinationRule."""
    return f"""
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host.split(".", maxsplit=1)[0]}, namespace: {namespace}}}
spec: {{host: {host}, {spec}}}
"""


def workload(
    name: str,
    app: str = "",
    version: str = "v1",
    uses: tuple[str, ...] = (),
    state: WorkloadState = WorkloadState.HEALTHY,
    namespace: str = "default",
) -> Workload:
    """A workload with port 8080."""
    address = SocketAddress("127.0.0.1", 8080)
    return Workload(
        name,
        namespace,
        app or name,
        labels_from_mapping({"app": app or name, "version": version}),
        (WorkloadPort(8080, address, address),),
        SocketAddress("127.0.0.1", 1),
        uses=uses,
        state=state,
    )


def subject(text: str, *workloads: Workload) -> Subject:
    """What is analysed of these."""
    decoded = decode_documents(text, "mesh.yaml")
    assert not decoded.problems, [str(one) for one in decoded.problems]
    documents = tuple(sorted(decoded.documents, key=lambda one: one.key))
    mesh = build_mesh(ConfigSnapshot(1, documents, tuple(sorted(workloads, key=workload_order))), Memo())
    return Subject(mesh, documents)
