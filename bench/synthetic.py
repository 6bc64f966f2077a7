"""A synthetic mesh of any size: services, endpoints, callers with and without a scope, and one change of each kind."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, replace
from typing import Any

from weft.model import workload as model
from weft.model.document import Document
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import SocketAddress, Workload, WorkloadPort, WorkloadState
from weft.schema.decode import decode_documents

ACCOUNT = "caller"
PORT = 8080
LISTS = 100
"""So many different lists of used services there are: the replicas of one application declare the same."""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""
ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route, namespace: {namespace}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: service-0}}]
  rules:
    - filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: step, value: "{step}"}}]}}}}]
      backendRefs: [{{name: service-0, port: 80}}]
"""


@dataclass(frozen=True)
class Shape:
    """How large a mesh is. `uses` is how many services a caller declares. One that declares none asks for the clusters
    of `asks` services when it has loaded, as Envoy does when it needs them; 0: it sees all."""

    services: int
    endpoints: int
    callers: int
    uses: int = 0
    namespaces: int = 1
    asks: int = 0


def namespace_of(shape: Shape, number: int) -> str:
    """The namespace of the service or caller of that number."""
    return f"load-{number % shape.namespaces}"


def caller_name(shape: Shape, number: int) -> str:
    """The proxy's name (Envoy's node id) of a caller."""
    return f"caller-{number}.{namespace_of(shape, number)}"


def caller_identity(shape: Shape, number: int) -> str:
    """The SPIFFE identity of a caller."""
    return f"spiffe://cluster.local/ns/{namespace_of(shape, number)}/sa/{ACCOUNT}"


def used_services(shape: Shape, number: int) -> tuple[str, ...]:
    """What a caller declares or asks for: service 0, which all use, and a stretch of the others."""
    count = shape.uses or shape.asks
    if not count:
        return ()
    first = 1 + (number % LISTS) * (count - 1)
    others = {(first + offset) % shape.services for offset in range(count - 1)}
    names = [f"service-{one}.{namespace_of(shape, one)}.svc.cluster.local" for one in sorted(others | {0})]
    return tuple(names)


def asked_clusters(shape: Shape, number: int) -> tuple[str, ...]:
    """The clusters that a caller asks for."""
    return tuple(f"outbound|80||{name}" for name in used_services(shape, number)) if not shape.uses else ()


def decoded(text: str) -> tuple[Document[object], ...]:
    """The documents of a text that has no faults."""
    found = decode_documents(text, "bench.yaml")
    if found.problems:
        raise ValueError(str(found.problems[0]))
    return found.documents


class World:
    """What the collector would hold; each change gives the next ConfigSnapshot."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        texts = [
            SERVICE.format(name=f"service-{number}", namespace=namespace_of(shape, number))
            for number in range(shape.services)
        ]
        documents = decoded("---\n".join([*texts, self._route(0)]))
        workloads = [caller(shape, number) for number in range(shape.callers)]
        for number in range(shape.services):
            workloads += self._backends(f"service-{number}", namespace_of(shape, number), number)
        self._first = (
            tuple(sorted(documents, key=lambda document: document.key)),
            tuple(sorted(workloads, key=_workload_order)),
        )
        self._step = 0
        self.restore()

    def snapshot(self) -> ConfigSnapshot:
        """All of it, at a revision that grows with every change."""
        return ConfigSnapshot(self._step, self._frozen, tuple(self._workloads))

    def restore(self) -> ConfigSnapshot:
        """As it was in the beginning, which is what a restarted process begins with."""
        self._step += 1
        self._frozen = self._first[0]
        self._documents = list(self._first[0])
        self._workloads = list(self._first[1])
        return self.snapshot()

    def move_endpoint(self, service: int) -> ConfigSnapshot:
        """One endpoint of a service moves to another port."""
        self._step += 1
        wanted = (namespace_of(self.shape, service), f"service-{service}-0")
        index = bisect.bisect_left(self._workloads, wanted, key=_workload_order)
        workload = self._workloads[index]
        port = workload.ports[0]
        elsewhere = SocketAddress(port.inbound.host, 20000 + self._step)
        self._workloads[index] = replace(workload, ports=(replace(port, inbound=elsewhere),))
        return self.snapshot()

    def change_route(self) -> ConfigSnapshot:
        """The route of service 0 sets another header."""
        self._step += 1
        self._put(self._route(self._step))
        return self.snapshot()

    def add_service(self) -> ConfigSnapshot:
        """A service that was not there, with endpoints."""
        self._step += 1
        namespace = namespace_of(self.shape, 0)
        self._put(SERVICE.format(name="added", namespace=namespace))
        for workload in self._backends("added", namespace, self.shape.services):
            bisect.insort(self._workloads, workload, key=_workload_order)
        return self.snapshot()

    def remove_service(self) -> ConfigSnapshot:
        """The added service is gone again."""
        self._step += 1
        self._documents = [document for document in self._documents if document.key.name != "added"]
        self._frozen = tuple(self._documents)
        self._workloads = [workload for workload in self._workloads if ("app", "added") not in workload.labels]
        return self.snapshot()

    def _put(self, text: str) -> None:
        (document,) = decoded(text)
        kept = [other for other in self._documents if other.key != document.key]
        bisect.insort(kept, document, key=lambda one: one.key)
        self._documents = kept
        self._frozen = tuple(kept)

    def _route(self, step: int) -> str:
        return ROUTE.format(namespace=namespace_of(self.shape, 0), step=step)

    def _backends(self, service: str, namespace: str, number: int) -> list[Workload]:
        return [
            backend(f"{service}-{copy}", namespace, service, number * self.shape.endpoints + copy)
            for copy in range(self.shape.endpoints)
        ]


def backend(name: str, namespace: str, app: str, number: int) -> Workload:
    """A healthy instance of an application, with an address of its own."""
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    port = WorkloadPort(PORT, SocketAddress("127.0.0.1", PORT), SocketAddress(address, 15006))
    return Workload(name, namespace, "backend", (("app", app),), (port,), state=WorkloadState.HEALTHY)


def caller(shape: Shape, number: int) -> Workload:
    """A workload that only calls."""
    name, _, namespace = caller_name(shape, number).rpartition(".")
    outbound = SocketAddress("127.0.0.1", 15001)
    if shape.uses:
        return Workload(name, namespace, ACCOUNT, outbound=outbound, uses=used_services(shape, number))
    return Workload(name, namespace, ACCOUNT, outbound=outbound, **_scope(shape))


def _scope(shape: Shape) -> dict[str, Any]:
    """Other checkouts may not have scopes: there, everybody who declares nothing sees all."""
    scopes = getattr(model, "Scope", None)
    return {} if shape.asks or scopes is None else {"scope": scopes.ALL}


def _workload_order(workload: Workload) -> tuple[str, str]:
    return (workload.namespace, workload.name)
