"""The join of Pods, EndpointSlices and Nodes to the workloads and instances of a mesh. Without I/O.

A Pod with a proxy of the mesh is a Workload; one without is an Instance, and so is an address of a slice that no Pod
has. What changes costs the Pods and slices that it is about: every other value stays the same object.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from weft.model.document import ObjectKey
from weft.model.identity import is_dns_label
from weft.model.instance import Instance, instance_order
from weft.model.locality import NOWHERE, Locality
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.snapshot import workload_order
from weft.model.workload import GatewayBinding, SocketAddress, Workload, WorkloadPort, WorkloadState
from weft.sources.kubernetes.documents import PREFIX
from weft.sources.kubernetes.objects import INIT_CONTAINER, PROXY_CONTAINER, Pod, PodPort, Slice
from weft.sources.kubernetes.reflection import Changes, Name
from weft.sources.ordered import Key, Ordered

LOOPBACK, OUTBOUND, INBOUND, METRICS, PROBES = "127.0.0.1", 15001, 15006, 15020, 15021
"""Ports of the proxy in a Pod, as the injector and the rules of capture have them."""
_CAPTURE_4, _CAPTURE_6 = SocketAddress(LOOPBACK, OUTBOUND), SocketAddress("::1", OUTBOUND)
_INBOUND_4, _INBOUND_6 = SocketAddress("0.0.0.0", INBOUND), SocketAddress("::", INBOUND)  # noqa: S104 - the Pod's own
_OF_PROXY = frozenset((OUTBOUND, INBOUND, METRICS, PROBES))
_LABEL = "a DNS label (lower-case letters, digits and '-', at most 63)"
KeyT = TypeVar("KeyT")


class Join:
    """See the module. `settle` makes good what was told since; the tuples are then as `weft.sources.contents` wants
    them."""

    def __init__(self) -> None:
        self._pods: dict[Name, Pod | None] = {}
        self._slices: dict[Name, Slice | None] = {}
        self._nodes: dict[str, Locality] = {}
        self._slices_of: dict[Name, set[Name]] = {}
        self._pods_on: dict[str, set[Name]] = {}
        self._dirty_pods: set[Name] = set()
        self._dirty_slices: set[Name] = set()
        self._workloads: Ordered[Workload] = Ordered()
        self._instances: Ordered[Instance] = Ordered()
        self._made: dict[Name, Workload | Instance] = {}
        self._made_of_slice: dict[Name, dict[Key, Instance]] = {}
        self._problems: dict[ObjectKey, Problem] = {}

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """The Pods with a proxy of the mesh."""
        return self._workloads.values

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The Pods without one, and the addresses of slices that are of no Pod."""
        return self._instances.values

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is left out, and why."""
        return tuple(problem for _, problem in sorted(self._problems.items()))

    def take_pods(self, changes: Changes[Pod | None]) -> None:
        """Pods came, changed or went."""
        for name, pod in changes.come.items():
            if name not in self._pods or self._pods[name] is not pod:
                self._move(name, self._pods.get(name), pod)
                self._pods[name] = pod
        for name in changes.gone:
            self._move(name, self._pods.pop(name, None), None)

    def _move(self, name: Name, before: Pod | None, pod: Pod | None) -> None:
        if before is not None:
            _drop(self._pods_on, before.node, name)
        if pod is not None:
            self._pods_on.setdefault(pod.node, set()).add(name)
        self._dirty_pods.add(name)
        self._dirty_slices.update(self._slices_of.get(name, ()))

    def take_slices(self, changes: Changes[Slice | None]) -> None:
        """Slices came, changed or went."""
        for name, found in changes.come.items():
            if name not in self._slices or self._slices[name] is not found:
                self._resort(name, self._slices.get(name), found)
                self._slices[name] = found
        for name in changes.gone:
            self._resort(name, self._slices.pop(name, None), None)

    def _resort(self, name: Name, before: Slice | None, found: Slice | None) -> None:
        old, new = _pods_of(before), _pods_of(found)
        for pod in old - new:
            _drop(self._slices_of, pod, name)
        for pod in new - old:
            self._slices_of.setdefault(pod, set()).add(name)
        same_ports = before is not None and found is not None and before.ports == found.ports
        self._dirty_pods.update(old ^ new if same_ports else old | new)
        self._dirty_slices.add(name)

    def take_nodes(self, changes: Changes[Locality | None]) -> None:
        """Nodes came, changed or went."""
        told = {name: locality for (_, name), locality in changes.come.items() if locality is not None}
        for node in (*told, *(name for _, name in changes.gone)):
            if self._nodes.get(node, NOWHERE) != told.get(node, NOWHERE):
                self._dirty_pods.update(self._pods_on.get(node, ()))
                self._dirty_slices.update(name for name, one in self._slices.items() if one and not one.of_pods)
        self._nodes.update(told)
        for _, node in changes.gone:
            self._nodes.pop(node, None)

    def settle(self) -> None:
        """Make good what was told."""
        for name in self._dirty_pods:
            self._settle_pod(name, self._pods.get(name))
        for name in self._dirty_slices:
            self._settle_slice(name, self._slices.get(name))
        self._dirty_pods, self._dirty_slices = set(), set()

    def _settle_pod(self, name: Name, pod: Pod | None) -> None:
        key = ObjectKey("", "Pod", *name)
        self._problems.pop(key, None)
        made: Workload | Instance | None = None
        if name in self._pods and pod is None:
            self._problems[key] = _unreadable(key)
        elif pod is not None and pod.state is not None:
            if not pod.meshed:
                made = self._of_pod(pod, pod.address, _named(pod.ports)) if pod.address else None
            elif (refusal := _refusal(pod)) is not None:
                self._problems[key] = refusal
            else:
                made = self._workload(pod)
                if pod.uncaptured:
                    self._problems[key] = _uncaptured(pod)
        before = self._made.pop(name, None)
        made = before if before == made else made
        if before is not None and (made is None or _place(before) != _place(made)):
            self._take_away(before)
        if made is not None:
            self._made[name] = made
        if isinstance(made, Workload):
            self._workloads.set(_place(made), made)
        elif made is not None:
            self._instances.set(_place(made), made)

    def _take_away(self, made: Workload | Instance) -> None:
        if isinstance(made, Workload):
            self._workloads.drop(_place(made))
        else:
            self._instances.drop(_place(made))

    def _workload(self, pod: Pod) -> Workload:
        assert pod.state is not None  # noqa: S101 - see `_settle_pod`
        if pod.gateway:
            return self._gateway(pod, pod.state)
        return Workload(
            name=pod.name,
            namespace=pod.namespace,
            service_account=pod.account,
            labels=pod.labels,
            ports=_ports(pod, self._ports_of_slices(pod)) if pod.address else (),
            state=pod.state,
            metrics=SocketAddress(pod.address, METRICS) if pod.address else None,
            locality=self._nodes.get(pod.node, NOWHERE),
            capture=_of_families(pod, _CAPTURE_4, _CAPTURE_6),
            inbound_capture=_of_families(pod, _INBOUND_4, _INBOUND_6),
            pod=pod.uid,
            owner=pod.owner,
        )

    def _gateway(self, pod: Pod, state: WorkloadState) -> Workload:
        """It listens at every address of its own, at the very ports of the document."""
        return Workload(
            name=pod.name,
            namespace=pod.namespace,
            service_account=pod.account,
            labels=pod.labels,
            gateway=GatewayBinding(pod.gateway, "::" if ":" in pod.address else "0.0.0.0"),  # noqa: S104
            state=state,
            metrics=SocketAddress(pod.address, METRICS) if pod.address else None,
            locality=self._nodes.get(pod.node, NOWHERE),
            pod=pod.uid,
            owner=pod.owner,
        )

    def _ports_of_slices(self, pod: Pod) -> Iterable[PodPort]:
        for name in sorted(self._slices_of.get((pod.namespace, pod.name), ())):
            found = self._slices.get(name)
            if found is not None:
                yield from found.ports

    def _settle_slice(self, name: Name, found: Slice | None) -> None:
        key = ObjectKey("discovery.k8s.io", "EndpointSlice", *name)
        self._problems.pop(key, None)
        made: dict[Key, Instance] = {}
        if name in self._slices and found is None:
            self._problems[key] = _unreadable(key)
        elif found is not None and not found.of_pods and found.service:
            if found.unusable:
                self._problems[key] = _no_addresses(key)
            else:
                made = {(*_place(each), found.name): each for each in self._instances_of(key, found)}
        before = self._made_of_slice.pop(name, {})
        for order in before.keys() - made.keys():
            self._instances.drop(order)
        for order, each in made.items():
            if before.get(order) == each:
                made[order] = before[order]
            else:
                self._instances.set(order, each)
        if made:
            self._made_of_slice[name] = made

    def _instances_of(self, key: ObjectKey, found: Slice) -> Iterable[Instance]:
        """The endpoints of a slice that the cluster's own controller does not keep."""
        ports = _named(found.ports)
        for each in found.endpoints:
            pod = self._pods.get((found.namespace, each.pod)) if each.pod else None
            if not each.address:
                continue
            if pod is not None and pod.uid == each.uid:
                if pod.state is not None and not (pod.meshed and _refusal(pod)):
                    yield self._of_pod(pod, each.address, ports, found.service)
            elif not each.pod:
                locality = self._nodes.get(each.node, NOWHERE)
                origin = Origin(f"{PREFIX}EndpointSlice/{key.namespace}/{key.name}")
                yield Instance(key, origin, each.address, (), ports, locality, each.state, found.service)

    def _of_pod(self, pod: Pod, address: str, ports: tuple[tuple[str, int], ...], service: str = "") -> Instance:
        return Instance(
            key=ObjectKey("", "Pod", pod.namespace, pod.name),
            origin=_origin(pod),
            address=address,
            labels=pod.labels,
            ports=ports,
            locality=self._nodes.get(pod.node, NOWHERE),
            state=pod.state or WorkloadState.UNHEALTHY,
            service=service,
            account=pod.account if pod.meshed else "",
        )


def _of_families(pod: Pod, ipv4: SocketAddress, ipv6: SocketAddress) -> tuple[SocketAddress, ...]:
    """Those of the families that the Pod has: where there is no IPv6, Envoy refuses a listener that wants it whole. Of
    one without an address nothing is known yet, and nearly all have IPv4."""
    return (*([ipv4] if pod.ipv4 or not pod.ipv6 else []), *([ipv6] if pod.ipv6 else []))


def _ports(pod: Pod, of_slices: Iterable[PodPort]) -> tuple[WorkloadPort, ...]:
    """The ports for TCP that its containers declare, and those that Services lead to without that. A name means the
    first port that has it."""
    found: dict[int, str] = {}
    named: set[str] = set()
    for port in pod.ports:
        if port.protocol == "TCP" and port.number not in _OF_PROXY:
            name = "" if port.name in named else port.name
            found[port.number] = found.get(port.number) or name
            named.add(name)
    for port in of_slices:
        if port.protocol == "TCP" and port.number not in _OF_PROXY:
            found.setdefault(port.number, "")
    return tuple(
        WorkloadPort(number, SocketAddress(LOOPBACK, number), SocketAddress(pod.address, number), name)
        for number, name in sorted(found.items())
    )


def _named(ports: Iterable[PodPort]) -> tuple[tuple[str, int], ...]:
    """The number that each name means: that of its first port, of one for TCP if there is any."""
    found: dict[str, int] = {}
    for port in sorted(ports, key=lambda port: port.protocol != "TCP"):
        found.setdefault(port.name, port.number)
    return tuple(sorted(found.items()))


def _refusal(pod: Pod) -> Problem | None:
    """Why a Pod with a proxy of the mesh cannot be in it. It is no instance without one either: its proxy would take
    nothing from callers that do not prove who they are."""
    if pod.host_network:
        text, expected = "it shares the network of its node (hostNetwork)", "a Pod with a network of its own"
    elif not is_dns_label(pod.name):
        text, expected = "its proxy cannot be called so", f"{_LABEL} as its name"
    elif not is_dns_label(pod.account):
        text, expected = f"no certificate can be made for its service account '{pod.account}'", f"{_LABEL} as its name"
    else:
        return None
    key = ObjectKey("", "Pod", pod.namespace, pod.name)
    message = f"the Pod has a {PROXY_CONTAINER} and is not in the mesh, so nobody can call it: {text}"
    return Problem(Severity.ERROR, "pod-unusable", message, _origin(pod), key, expected=expected)


def _uncaptured(pod: Pod) -> Problem:
    key = ObjectKey("", "Pod", pod.namespace, pod.name)
    text = f"the Pod does not start: its connections cannot be captured, says {INIT_CONTAINER}"
    expected = f"on its node {pod.node} what that container's log asks for"
    return Problem(Severity.ERROR, "pod-not-captured", text, _origin(pod), key, expected=expected)


def _no_addresses(key: ObjectKey) -> Problem:
    origin = Origin(f"{PREFIX}EndpointSlice/{key.namespace}/{key.name}")
    message = "its endpoints are names, or have ports without a number, so nothing is behind them"
    expected = "addressType IPv4 or IPv6, and the number of each port"
    return Problem(Severity.WARNING, "slice-unusable", message, origin, key, expected=expected)


def _unreadable(key: ObjectKey) -> Problem:
    text = f"weft cannot read {key}; please report it"
    origin = Origin(f"{PREFIX}{key.kind}/{key.namespace}/{key.name}")
    return Problem(Severity.ERROR, "internal-error", text, origin, key)


def _origin(pod: Pod) -> Origin:
    return Origin(f"{PREFIX}Pod/{pod.namespace}/{pod.name}/{pod.uid}")


def _place(made: Workload | Instance) -> Key:
    return workload_order(made) if isinstance(made, Workload) else instance_order(made)


def _pods_of(found: Slice | None) -> set[Name]:
    return {(found.namespace, each.pod) for each in found.endpoints if each.pod} if found is not None else set()


def _drop(index: dict[KeyT, set[Name]], key: KeyT, name: Name) -> None:
    names = index.get(key, set())
    names.discard(name)
    if not names:
        index.pop(key, None)
