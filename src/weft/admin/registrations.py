"""What a registration may say: names, addresses, sizes. Checked before anything is believed."""

from __future__ import annotations

import ipaddress
import re

from weft.admin.replies import Refused
from weft.model.addresses import is_loopback, is_wildcard
from weft.model.identity import is_dns_label
from weft.model.locality import EXPECTED as LOCALITY_EXPECTED
from weft.model.locality import is_locality
from weft.model.network_namespace import EXPECTED as NAMESPACE_EXPECTED
from weft.model.network_namespace import NetworkNamespace, is_generation, is_namespace_path
from weft.model.workload import SocketAddress, Workload, WorkloadPort

MAX_PORTS = 64
MAX_UPSTREAMS = 256
MAX_USES = 1000
MAX_LABELS = 64
MAX_WEIGHT = 128
MAX_WORKERS = 256
MAX_CARRIED = 1000
_NOT_OF_A_POD = ("gateway", "node", "carrier", "network_namespace", "group", "upstreams", "uses")
_LABEL_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_VERSION = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){2}", re.ASCII)
_GROUP = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9*_][-A-Za-z0-9_.*/]{0,252}")


def check_workload(workload: Workload) -> None:
    """Raise Refused (400) that names the first member of `workload` that cannot be."""
    for member in ("name", "namespace", "service_account"):
        text = getattr(workload, member)
        if not is_dns_label(text):
            _refuse(member, text, "an RFC 1123 label: lower-case letters, digits and '-', at most 63")
    _check_labels(workload)
    if not is_locality(workload.locality):
        _refuse("locality", str(workload.locality), LOCALITY_EXPECTED)
    _check_group(workload)
    _check_count("ports", len(workload.ports), MAX_PORTS)
    _check_count("upstreams", len(workload.upstreams), MAX_UPSTREAMS)
    _check_count("uses", len(workload.uses), MAX_USES)
    _check_ports(workload.ports)
    _check_capture(workload)
    if workload.outbound is not None:
        _check_address("outbound", workload.outbound)
    if workload.metrics is not None:
        _check_address("metrics", workload.metrics)
    if workload.envoy and not _VERSION.fullmatch(workload.envoy):
        _refuse("envoy", workload.envoy, "a version such as 1.40.0")
    for upstream in workload.upstreams:
        _check_host("upstreams.service", upstream.service)
        _check_port("upstreams.port", upstream.port)
        _check_address("upstreams.listen", upstream.listen)
    for host in workload.uses:
        _check_host("uses", host)
    if workload.gateway is not None:
        if not is_dns_label(workload.gateway.gateway):
            _refuse("gateway.gateway", workload.gateway.gateway, "the name of a Gateway in the same namespace")
        _check_count("gateway.ports", len(workload.gateway.ports), MAX_PORTS)
        _check_ip("gateway.address", workload.gateway.address)
        for number, where in workload.gateway.ports:
            _check_port("gateway.ports", number)
            _check_address("gateway.ports", where)
    _check_node(workload)


def check_pod(workload: Workload) -> None:
    """Raise Refused (400) unless a Pod's registration names it, and says nothing that a Pod cannot have. What else it
    says of itself is not heeded: the API server says it (`weft.model.enrolment.RegisterRequest`)."""
    for member in ("name", "namespace", "service_account"):
        text = getattr(workload, member)
        if not is_dns_label(text):
            _refuse(member, text, "the Pod's own: an RFC 1123 label")
    blank = Workload(workload.name, workload.namespace, workload.service_account)
    for member in ("pod", *_NOT_OF_A_POD):
        if getattr(workload, member) != getattr(blank, member):
            _refuse(member, str(getattr(workload, member)), "nothing: a Pod has its own proxy, and no such setting")


def _check_node(workload: Workload) -> None:
    """A node is nothing but a node, and carries neither nodes nor gateways."""
    captures = workload.captures or workload.inbound_capture
    own = workload.ports or workload.upstreams or workload.outbound or captures or workload.gateway
    if workload.carrier:
        _check_proxy("carrier", workload.carrier)
        if workload.gateway or workload.node or captures or workload.dns:
            _refuse("carrier", workload.carrier, "a proxy of its own, for a node, a gateway, capture or names (--dns)")
    if workload.network_namespace is not None:
        _check_namespace("network_namespace", workload.network_namespace)
        if not workload.carrier:
            _refuse(
                "network_namespace", workload.network_namespace.path, "a carrier: sidecars are where they were started"
            )
    if workload.node is not None:
        _check_count("node.carries", len(workload.node.carries), MAX_CARRIED)
        _check_count("node.namespaces", len(workload.node.namespaces), 2 * MAX_CARRIED)
        for proxy, where in workload.node.namespaces:
            _check_proxy("node.namespaces", proxy)
            if where is not None:
                _check_namespace("node.namespaces", where)
        for name in workload.node.carries:
            _check_proxy("node.carries", name)
        if own or workload.carrier:
            _refuse("node", workload.proxy, "no ports, upstreams, gateway or carrier of its own")


def _check_namespace(member: str, where: NetworkNamespace) -> None:
    """Which file it is the node says as well, by its own right: what is checked here is that Envoy can be told."""
    if not is_namespace_path(where.path):
        _refuse(f"{member}.path", where.path, NAMESPACE_EXPECTED)
    if not is_generation(where.generation):
        _refuse(f"{member}.generation", where.generation, "device and inode of the namespace's file: HEX-NUMBER")


def _check_proxy(member: str, text: str) -> None:
    name, _, namespace = text.partition(".")
    if not is_dns_label(name) or not is_dns_label(namespace):
        _refuse(member, text, "the name of a proxy: NAME.NAMESPACE")


def _check_group(workload: Workload) -> None:
    if workload.pod:
        _refuse("pod", workload.pod, "nothing: pods are told by the API server")
    if workload.group and not _GROUP.fullmatch(workload.group):
        _refuse("group", workload.group, "the name of a WorkloadGroup in the same namespace")
    if not 1 <= workload.weight <= MAX_WEIGHT:
        _refuse("weight", str(workload.weight), f"1 to {MAX_WEIGHT}")
    if not 0 <= workload.workers <= MAX_WORKERS:
        _refuse("workers", str(workload.workers), f"0 to {MAX_WORKERS}")


def check_reachable(workload: Workload, caller: str) -> None:
    """Raise Refused (400) when a workload of another host, which calls from the IP address `caller`, is to be reached
    on loopback, or at the address that stands for all: to every caller that is its own host, not the workload's."""
    if is_loopback(caller):
        return
    ours = {caller, *[port.inbound.host for port in workload.ports]}
    if workload.metrics is not None and workload.metrics.host not in ours:
        _refuse("metrics", str(workload.metrics), "an address of the workload's own host: Prometheus is sent there")
    for port in workload.ports:
        if is_loopback(port.inbound.host) or is_wildcard(port.inbound.host):
            _refuse("ports.inbound", str(port.inbound), "an address that other hosts reach: weft run --inbound-address")


def _check_ports(ports: tuple[WorkloadPort, ...]) -> None:
    for port in ports:
        _check_port("ports.port", port.port)
        _check_address("ports.application", port.application)
        _check_address("ports.inbound", port.inbound)
        if port.name and (not is_dns_label(port.name) or port.name.isdigit()):
            _refuse("ports.name", port.name, "an RFC 1123 label that is no number")
    if len({port.port for port in ports}) != len(ports):
        _refuse("ports", "a port twice", "each port once")
    names = [port.name for port in ports if port.name]
    if len(set(names)) != len(names):
        _refuse("ports", "a name twice", "each name once")


def _check_capture(workload: Workload) -> None:
    for each in workload.capture:
        _check_address("capture", each)
    for where in workload.inbound_capture:
        _check_port("inbound_capture", where.port)
        if not is_wildcard(where.host):
            _refuse("inbound_capture", str(where), "an address that stands for all of a host: 0.0.0.0 or ::")


def _check_labels(workload: Workload) -> None:
    _check_count("labels", len(workload.labels), MAX_LABELS)
    for name, value in workload.labels:
        if not _LABEL_NAME.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
            _refuse("labels", f"{name}={value}", "Kubernetes label syntax")
    names = [name for name, _ in workload.labels]
    if names != sorted(set(names)):
        _refuse("labels", "names out of order or twice", "each name once, sorted")


def _check_count(member: str, count: int, most: int) -> None:
    if count > most:
        _refuse(member, f"{count} of them", f"at most {most}")


def _check_port(member: str, port: int) -> None:
    if not 0 < port < 65536:
        _refuse(member, str(port), "a port from 1 to 65535")


def _check_address(member: str, address: SocketAddress) -> None:
    _check_ip(member, address.host)
    _check_port(member, address.port)


def _check_ip(member: str, host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        _refuse(member, host, "an IP address")


def _check_host(member: str, host: str) -> None:
    if not _HOST.fullmatch(host):
        _refuse(member, host, "a host name")


def _refuse(member: str, found: str, expected: str) -> None:
    raise Refused(400, "bad-workload", f"workload.{member}: found {found[:80]!r}, expected {expected}")
