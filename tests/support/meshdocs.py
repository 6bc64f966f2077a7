"""Meshes written as the YAML a user would write, compiled in memory: documents, workloads, views, verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from support.evaluate import Verdict, evaluate
from support.matching import Request
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.services.service import Backend, EndpointSet
from weft.mesh.view import build_view
from weft.mesh.views import GatewayView, SidecarView
from weft.model.bundles import ForeignBundle
from weft.model.document import Document
from weft.model.instance import Instance
from weft.model.labels import Labels, labels_from_mapping
from weft.model.names import Assigned
from weft.model.snapshot import ConfigSnapshot, MeshSettings
from weft.model.workload import GatewayBinding, SocketAddress, Upstream, Workload, WorkloadPort, WorkloadState
from weft.schema.decode import decode_documents
from weft.xds.services.names import cluster_name

HOST = "127.0.0.1"


def documents(text: str, source: str = "mesh.yaml", created: float = 0.0) -> tuple[Document[object], ...]:
    """The documents of a text, which must be good."""
    decoded = decode_documents(text, source, created=created)
    assert not decoded.failed, [str(problem) for problem in decoded.problems]
    return decoded.documents


def service(name: str, *ports: int, namespace: str = "default", extra: str = "", selector: str = "") -> str:
    """A Service whose ports are HTTP (9080 if none is given) and that selects ``app: NAME``."""
    lines = "".join(f"  - {{name: http-{port}, port: {port}}}\n" for port in ports or (9080,))
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{{selector or f"app: {name}"}}}
  ports:
{lines}{extra}"""


def workload(app: str, version: str = "v1", *, port: int = 9080, number: int = 0, **changes: Any) -> Workload:
    """A healthy instance of an application with labels app and version."""
    fields: dict[str, Any] = {
        "name": f"{app}-{version}",
        "namespace": "default",
        "service_account": app,
        "labels": labels_from_mapping({"app": app, "version": version}),
        "ports": (WorkloadPort(port, SocketAddress(HOST, 8000 + number), SocketAddress(HOST, 20000 + number)),),
        "outbound": SocketAddress(HOST, 15001),
        "state": WorkloadState.HEALTHY,
    }
    return Workload(**(fields | changes))


def gateway_workload(gateway: str, namespace: str = "default", offset: int = 0, labels: Labels = ()) -> Workload:
    """A stand-alone proxy that serves a Gateway."""
    binding = GatewayBinding(gateway, HOST, offset)
    return Workload(gateway, namespace, f"gateway-{gateway}", labels, gateway=binding, state=WorkloadState.HEALTHY)


def upstream(name: str, port: int, listen: int = 5432) -> Upstream:
    """A loopback port that leads to a service."""
    return Upstream(name, port, SocketAddress(HOST, listen))


class Compiled:
    """A mesh and what its proxies see."""

    def __init__(
        self,
        *texts: str | Iterable[Document[object]],
        workloads: Iterable[Workload] = (),
        memo: Memo | None = None,
        settings: MeshSettings | None = None,
        bundles: tuple[ForeignBundle, ...] = (),
        numbers: Mapping[str, int] | None = None,
        instances: Iterable[Instance] = (),
    ) -> None:
        found: list[Document[object]] = []
        for number, text in enumerate(texts):
            found += documents(text, f"doc{number}.yaml") if isinstance(text, str) else text
        self.memo = memo or Memo()
        self.memo.begin()
        snapshot = ConfigSnapshot(
            1,
            tuple(found),
            tuple(workloads),
            settings=settings or MeshSettings(),
            bundles=bundles,
            assigned=tuple(Assigned(name, number) for name, number in (numbers or {}).items()),
            instances=tuple(instances),
        )
        self.documents = snapshot.documents
        self.mesh: Mesh = build_mesh(snapshot, self.memo)

    @property
    def codes(self) -> list[str]:
        """The codes of all problems."""
        return [problem.code for problem in self.mesh.problems]

    def sidecar(self, caller: Workload | None = None, **changes: Any) -> SidecarView:
        """The view of a sidecar, by default of a client with nothing special in namespace default."""
        view = build_view(self.mesh, replace(caller or workload("client"), **changes), self.memo)
        assert isinstance(view, SidecarView)
        return view

    def gateway(self, name: str, namespace: str = "default", offset: int = 0) -> GatewayView:
        """The view of a gateway's proxy."""
        view = build_view(self.mesh, gateway_workload(name, namespace, offset), self.memo)
        assert isinstance(view, GatewayView)
        return view

    def ask(self, url: str, caller: Workload | None = None, **fields: Any) -> Verdict:
        """What happens to a request ``host[:port]/path`` of a sidecar's application."""
        return evaluate(self.sidecar(caller), request(url, **fields))

    def knock(self, gateway: str, url: str, **fields: Any) -> Verdict:
        """What happens to a request at a gateway."""
        return evaluate(self.gateway(gateway), request(url, **fields))


def backends(view: SidecarView | GatewayView) -> dict[str, Backend]:
    """The backends of a view by the names of their clusters."""
    return {cluster_name(each.backend.key): each.backend for each in view.targets.targets()}


def endpoints(view: SidecarView | GatewayView) -> dict[str, EndpointSet]:
    """The endpoints of a view by the names of their clusters."""
    return {cluster_name(each.endpoints.backend): each.endpoints for each in view.targets.targets() if each.endpoints}


def request(url: str, **fields: Any) -> Request:
    """A request for ``host[:port]/path``."""
    authority, _, path = url.partition("/")
    host, _, port = authority.partition(":")
    return Request(host=host, path=f"/{path}", port=int(port or 0), **fields)


def short(verdict: Verdict) -> str:
    """A verdict in one word: the status, or the subset or service it goes to."""
    if verdict.passthrough:
        return "passthrough"
    if verdict.status:
        return str(verdict.status)
    _, port, subset, host = verdict.backend.split("|")
    return subset or f"{host.removesuffix('.svc.cluster.local').removesuffix('.default')}:{port}"
