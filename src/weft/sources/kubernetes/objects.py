"""Pods, EndpointSlices and Nodes as values with only what the mesh needs of them. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from weft.model.addresses import is_ip_address
from weft.model.gateway_process import served_gateway
from weft.model.identity import is_dns_label
from weft.model.labels import Labels
from weft.model.locality import NOWHERE, REGION_LABEL, ZONE_LABEL, Locality
from weft.model.workload import WorkloadState
from weft.sources.kubernetes.reflection import Told

PROXY_CONTAINER = "weft-proxy"
"""The container, or native sidecar, by which a Pod is in the mesh."""
INIT_CONTAINER = "weft-init"
"""What ends when the Pod's connections are captured."""
_SERVICE_LABEL = "kubernetes.io/service-name"
_MANAGER_LABEL = "endpointslice.kubernetes.io/managed-by"
_CONTROLLER = "endpointslice-controller.k8s.io"
"""What makes the slices of Services with a selector: each of their addresses is that of a Pod."""
_ENDED = frozenset(("Succeeded", "Failed"))
_HASH_LABELS = ("pod-template-hash", "rollouts-pod-template-hash")
"""What tells ReplicaSets of one Deployment apart, and of one Rollout of Argo."""
_MINUTE = re.compile(r"-[0-9]{8,}\Z")
ObjectT = TypeVar("ObjectT")


@dataclass(frozen=True, slots=True)
class PodPort:
    """A port that a container declares, or a slice has."""

    name: str
    number: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Pod:
    """`address` is empty until it has one; `ipv4` and `ipv6` say of which families it has any. `meshed`: it has a proxy
    of the mesh. `state` is None for Pods that nothing runs of: they have no node yet, or all of their containers have
    ended. `gateway` is that whose process it is, `owner` what made it, such as a Deployment (empty: nobody).
    `uncaptured`: what should see to its rules of capture has failed."""

    namespace: str
    name: str
    uid: str
    labels: Labels
    account: str
    node: str
    address: str
    ipv4: bool
    ipv6: bool
    ports: tuple[PodPort, ...]
    meshed: bool
    host_network: bool
    state: WorkloadState | None
    gateway: str = ""
    owner: str = ""
    uncaptured: bool = False


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """One address of a slice; `pod` is the name of the Pod that it is, empty if it is none, and `uid` that Pod's. Of a
    slice that the cluster's controller keeps only `pod` is said: the rest is the Pod's."""

    pod: str
    address: str = ""
    state: WorkloadState = WorkloadState.HEALTHY
    uid: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Slice:
    """Addresses of one Service. `of_pods`: the cluster's own controller keeps it for a Service with a selector.
    `unusable`: its addresses are names, or a port is not said."""

    namespace: str
    name: str
    service: str
    of_pods: bool
    unusable: bool
    ports: tuple[PodPort, ...]
    endpoints: tuple[SliceEndpoint, ...]


# -- as the API server tells them --------------------------------------------------------------------------------------


class _Owner(msgspec.Struct):
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    labels: dict[str, str] | None = None
    deletion_timestamp: str | None = None
    owner_references: tuple[_Owner, ...] | None = None


class _ContainerPort(msgspec.Struct, rename="camel"):
    container_port: int
    name: str = ""
    protocol: str = "TCP"


class _Container(msgspec.Struct, rename="camel"):
    name: str
    ports: tuple[_ContainerPort, ...] | None = None
    restart_policy: str = ""


class _PodSpec(msgspec.Struct, rename="camel"):
    containers: tuple[_Container, ...] = ()
    init_containers: tuple[_Container, ...] | None = None
    node_name: str = ""
    service_account_name: str = ""
    host_network: bool = False


class _Condition(msgspec.Struct):
    type: str
    status: str


class _PodIp(msgspec.Struct):
    ip: str = ""


class _Ended(msgspec.Struct, rename="camel"):
    exit_code: int = 0


class _ContainerState(msgspec.Struct):
    terminated: _Ended | None = None


class _ContainerStatus(msgspec.Struct, rename="camel"):
    name: str
    state: _ContainerState = msgspec.field(default_factory=_ContainerState)
    last_state: _ContainerState = msgspec.field(default_factory=_ContainerState)


class _PodStatus(msgspec.Struct, rename="camel"):
    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[_PodIp, ...] | None = msgspec.field(default=None, name="podIPs")
    conditions: tuple[_Condition, ...] | None = None
    init_container_statuses: tuple[_ContainerStatus, ...] | None = None


class _Pod(msgspec.Struct):
    metadata: _Metadata
    spec: _PodSpec
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


class _Conditions(msgspec.Struct):
    ready: bool | None = None
    terminating: bool | None = None


class _Reference(msgspec.Struct):
    kind: str = ""
    name: str = ""
    uid: str = ""


class _Endpoint(msgspec.Struct, rename="camel"):
    addresses: tuple[str, ...] | None = None
    conditions: _Conditions = msgspec.field(default_factory=_Conditions)
    target_ref: _Reference | None = None
    node_name: str | None = None


class _SlicePort(msgspec.Struct):
    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class _Slice(msgspec.Struct, rename="camel"):
    metadata: _Metadata
    address_type: str = ""
    endpoints: tuple[_Endpoint, ...] | None = None
    ports: tuple[_SlicePort, ...] | None = None


class _Node(msgspec.Struct):
    metadata: _Metadata


# -- what is made of them: each is a `weft.sources.kubernetes.reflection.Decode` ---------------------------------------


def read_pod(told: Told, before: Pod | None) -> Pod | None:
    """The Pod; `before` if it says the same, or cannot be read, which never happens. It has to be remembered that it
    was ready once: the API server does not tell."""
    found = _decoded(told, _Pod)
    if found is None:
        return before
    last = before if before is not None and before.uid == told.uid else None
    spec, status = found.spec, found.status
    sidecars = [each for each in spec.init_containers or () if each.restart_policy == "Always"]
    containers = [*spec.containers, *sidecars]
    ports = [
        PodPort(sys.intern(port.name), port.container_port, sys.intern(port.protocol))
        for each in containers
        if each.name != PROXY_CONTAINER
        for port in each.ports or ()
    ]
    labels, account = _labels(found.metadata), sys.intern(spec.service_account_name or "default")
    addresses = (status.pod_ip, *(each.ip for each in status.pod_ips or ()))
    pod = Pod(
        namespace=sys.intern(told.namespace),
        name=told.name,
        uid=told.uid,
        labels=labels,
        account=account,
        node=sys.intern(spec.node_name),
        address=_address(status.pod_ip),
        ipv4=any("." in each for each in addresses),
        ipv6=any(":" in each for each in addresses),
        ports=tuple(ports),
        meshed=any(each.name == PROXY_CONTAINER for each in containers),
        host_network=spec.host_network,
        state=_state(found, last),
        gateway=served_gateway(labels, account),
        uncaptured=any(map(_has_failed, status.init_container_statuses or ())),
        owner=sys.intern(_owner(found.metadata)),
    )
    return before if pod == before else pod


def _has_failed(status: _ContainerStatus) -> bool:
    """Whether it is the container of capture, and its latest end was not a good one."""
    ended = status.state.terminated or status.last_state.terminated
    return status.name == INIT_CONTAINER and ended is not None and ended.exit_code != 0


def _owner(metadata: _Metadata) -> str:
    """The name of what people made, of which the Pod is a part. A ReplicaSet is made by something else, which has put
    a hash behind its own name and told it by a label; a Job by itself is what people made, one of a CronJob is called
    after the minute."""
    owner = next((each for each in metadata.owner_references or () if each.controller), _Owner())
    name, labels = owner.name, metadata.labels or {}
    if owner.kind == "ReplicaSet":
        for each in _HASH_LABELS:
            name = name.removesuffix(f"-{labels.get(each)}")
    elif owner.kind == "Job":
        name = _MINUTE.sub("", name)
    return name if is_dns_label(name) else ""


def _state(pod: _Pod, before: Pod | None) -> WorkloadState | None:
    if not pod.spec.node_name or pod.status.phase in _ENDED:
        return None
    if pod.metadata.deletion_timestamp is not None:
        return WorkloadState.DRAINING
    if any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ()):
        return WorkloadState.HEALTHY
    fresh = before is None or before.state in (None, WorkloadState.STARTING)
    return WorkloadState.STARTING if fresh else WorkloadState.UNHEALTHY


def read_slice(told: Told, before: Slice | None) -> Slice | None:
    """The EndpointSlice; `before` if it says the same, or cannot be read."""
    found = _decoded(told, _Slice)
    if found is None:
        return before
    labels = found.metadata.labels or {}
    of_pods = labels.get(_MANAGER_LABEL) == _CONTROLLER
    read = Slice(
        namespace=sys.intern(told.namespace),
        name=told.name,
        service=sys.intern(labels.get(_SERVICE_LABEL, "")),
        of_pods=of_pods,
        unusable=found.address_type not in ("IPv4", "IPv6") or any(port.port is None for port in found.ports or ()),
        ports=tuple(
            PodPort(sys.intern(port.name or ""), port.port, sys.intern(port.protocol or "TCP"))
            for port in found.ports or ()
            if port.port is not None
        ),
        endpoints=tuple([_endpoint(each, of_pods) for each in found.endpoints or ()]),
    )
    return before if read == before else read


def _endpoint(endpoint: _Endpoint, of_pods: bool) -> SliceEndpoint:
    """What is not said of a condition means that the endpoint is ready, and does not end."""
    if of_pods:
        return SliceEndpoint(pod=endpoint.target_ref.name if endpoint.target_ref is not None else "")
    state = WorkloadState.HEALTHY
    if endpoint.conditions.terminating:
        state = WorkloadState.DRAINING
    elif endpoint.conditions.ready is False:
        state = WorkloadState.UNHEALTHY
    of = endpoint.target_ref
    pod = of if of is not None and of.kind == "Pod" else _Reference()
    address = (endpoint.addresses or ("",))[0]  # the others are its own too, and nobody calls them
    return SliceEndpoint(pod.name, _address(address), state, pod.uid, sys.intern(endpoint.node_name or ""))


def _address(text: str) -> str:
    return text if is_ip_address(text) else ""


def read_node(told: Told, before: Locality | None) -> Locality | None:
    """Where a Node is, as its labels of topology say."""
    found = _decoded(told, _Node)
    if found is None:
        return before
    labels = found.metadata.labels or {}
    region = sys.intern(labels.get(REGION_LABEL, ""))
    locality = Locality(region, sys.intern(labels.get(ZONE_LABEL, ""))) if region else NOWHERE
    return before if locality == before else locality


def _decoded(told: Told, kind: type[ObjectT]) -> ObjectT | None:
    try:
        return msgspec.json.decode(told.text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _labels(metadata: _Metadata) -> Labels:
    pairs = (metadata.labels or {}).items()
    return tuple(sorted([(sys.intern(name), sys.intern(value)) for name, value in pairs]))
