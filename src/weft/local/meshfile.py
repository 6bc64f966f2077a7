"""weft.yaml: what a mesh on one machine consists of, decoded as strictly as documents are."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal, cast

from weft.local.control_plane_entries import OidcEntry, RemoteAdminEntry, check_control_plane, check_source
from weft.local.names import CONTROL_PLANE, process_name
from weft.local.option_syntax import (
    OptionValueError,
    is_metrics_path,
    parse_capture,
    parse_dns,
    parse_inbound_capture,
    parse_listen,
    parse_locality,
    parse_port,
    parse_upstream,
)
from weft.local.shared_proxy import check_shared, check_sidecars
from weft.model.addresses import is_ip_address, is_wildcard
from weft.model.identity import DEFAULT_TRUST_DOMAIN, is_trust_domain
from weft.model.origin import FieldLines, FieldPath, Origin
from weft.model.problem import Problem, Severity
from weft.schema.scalars import Duration, Name, OneOf, Port, Scalar, Subdomain
from weft.schema.walk import INVALID, Walk, decode_value
from weft.schema.yaml_nodes import Node, field_lines, parse_documents

LOOPBACK = "127.0.0.1"
_LabelKey = Annotated[str, Scalar("label-key")]
_LabelValue = Annotated[str, Scalar("label-value")]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How the application's health is checked: an HTTP path, or (the default) whether its ports accept connections."""

    one_of: ClassVar = OneOf(("http", "tcp"), required=False)
    http: str | None = None
    tcp: bool | None = None
    interval: Duration = 2.0
    timeout: Duration = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsEntry:
    """Where the application tells its own metrics for Prometheus. The sidecar's endpoint tells them too."""

    port: Port
    path: str = "/metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadEntry:
    """One application with its sidecar. `ports` and `upstreams` are as `weft run` takes them; in `command`, the word
    ``{python}`` stands for the Python that weft runs on. `locality` is where it is: region, zone and subzone. `group`
    is the WorkloadGroup of its namespace that says what is not said here; without either, the service account is
    `default`. `dns` (on, off or a port) has names of the mesh answered on loopback, and `dns_upstreams` are the
    resolvers for all others (none: those of this host). `capture` (on, off, seccomp, strict, rules or a port) has its
    connections led into its proxy, and names answered, too; `inboundCapture` (on, off, a port or tproxy) those of
    callers. `proxy: sidecar` gives it a proxy of its own where others share one. `network_namespace` is
    where it lives behind a shared proxy, by name or path; without a `command` it runs there already."""

    name: Name
    command: tuple[str, ...]
    namespace: Name = "default"
    service_account: Name = ""
    group: Subdomain = ""
    labels: Mapping[_LabelKey, _LabelValue] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    scope: Literal["demand", "all"] = "demand"
    locality: str = ""
    working_directory: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    health_check: HealthCheck = HealthCheck()
    metrics: MetricsEntry | None = None
    proxy_auth: Literal["auto", "on", "off"] = "auto"
    identity_from: str = ""
    dns: str = "off"
    dns_upstreams: tuple[str, ...] = ()
    capture: str = "off"
    inbound_capture: str = "off"
    proxy: Literal["", "sidecar"] = ""
    network_namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayEntry:
    """The proxy of the Gateway document of its name, and of those of Istio that select its `labels`. `listen` says
    where listener ports are bound: ``auto``, a port, or an address and port; `locality`
    where it is."""

    name: Subdomain
    namespace: Name = "default"
    labels: Mapping[_LabelKey, _LabelValue] = field(default_factory=dict)
    bind: str = "127.0.0.1"
    listen: Mapping[Port, str] = field(default_factory=dict)
    locality: str = ""
    identity_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlanePorts:
    """Ports of the control plane; free ones are taken where none is given."""

    admin: Port | None = None
    xds: Port | None = None
    agent: Port | None = None
    metrics: Port | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshFile:
    """A mesh. `documents` are followed live, `apply` is applied at the start; paths are relative to the file. `bind` is
    the IP address of this host at which other hosts reach the control plane and the workloads. `proxy`: whether each
    workload has a sidecar, or all share one proxy."""

    trust_domain: str = DEFAULT_TRUST_DOMAIN
    bind: str = LOOPBACK
    proxy: Literal["sidecar", "shared"] = "sidecar"
    documents: tuple[str, ...] = ()
    apply: tuple[str, ...] = ()
    workloads: tuple[WorkloadEntry, ...] = ()
    gateways: tuple[GatewayEntry, ...] = ()
    ports: ControlPlanePorts = ControlPlanePorts()
    remote_admin: RemoteAdminEntry | None = None
    oidc: OidcEntry | None = None
    store_key: str = ""
    former_store_key: str = ""
    identity_from: str = ""
    imports: str = ""
    probe_networks: tuple[str, ...] = ()


class MeshFileError(Exception):
    """weft.yaml cannot be used; `problems` say where and why."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def read_meshfile(path: Path, check: Callable[[Walk, MeshFile], None] | None = None) -> MeshFile:
    """The mesh in the file at `path`, with which `check` may find more wrong (default: what `proxy` rules out). Raises
    MeshFileError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise MeshFileError((_problem(str(path), "unreadable", f"cannot be read: {reason}"),)) from error
    return decode_meshfile(text, str(path), check)


def decode_meshfile(text: str, source: str, check: Callable[[Walk, MeshFile], None] | None = None) -> MeshFile:
    """The mesh in `text`, checked as `read_meshfile` has it. Raises MeshFileError with everything that is wrong."""
    documents = list(parse_documents(text, source))
    if problems := tuple(problem for document in documents for problem in document.problems):
        raise MeshFileError(problems)
    if len(documents) != 1 or documents[0].root is None:
        found = f"the file holds {len(documents)} YAML documents" if documents else "the file is empty"
        raise MeshFileError((_problem(source, "syntax", found, "one mapping with workloads, gateways, documents"),))
    root = documents[0].root
    walk = Walk(field_lines(root, source))
    if isinstance(root.value, dict) and "kind" in root.value and "apiVersion" in root.value:
        walk.error(("kind",), "unknown-field", "this is a document, not a mesh", "weft apply -f FILE")
        raise MeshFileError(tuple(walk.problems))
    _as_texts(root)
    mesh = decode_value(walk, MeshFile, root, ())
    if mesh is not INVALID:
        decoded = cast(MeshFile, mesh)
        _check(walk, decoded)
        (check or (check_shared if decoded.proxy == "shared" else check_sidecars))(walk, decoded)
    if walk.failed:
        raise MeshFileError(tuple(walk.problems))
    return cast(MeshFile, mesh)


def meshfile_lines(text: str, source: str) -> FieldLines:
    """Where the fields of a weft.yaml stand that `decode_meshfile` could read."""
    root = next(iter(parse_documents(text, source))).root
    return field_lines(root, source) if root is not None else FieldLines(source)


def _problem(source: str, code: str, message: str, expected: str = "") -> Problem:
    return Problem(Severity.ERROR, code, message, Origin(source), expected=expected)


def _as_texts(root: Node) -> None:
    """Give the places that take two forms one form: ports and listeners as text, commands as lists, env as text."""
    for workload in _items(root, "workloads"):
        for port in _items(workload, "ports"):
            _as_text(port)
        entries = cast(dict[str, Node], workload.value)
        for switch in ("proxyAuth", "dns", "capture", "inboundCapture"):
            if switch in entries:
                _as_text(entries[switch])  # on and off are YAML's words for true and false
        for variable in _values(entries.get("env")):
            _as_text(variable)
        place = entries.get("networkNamespace")
        if "command" in entries:
            _as_words(workload, entries["command"])
        elif place is not None:  # it runs there already
            entries["command"] = Node([], place.line, place.column, "")
    for gateway in _items(root, "gateways"):
        for where in _values(cast(dict[str, Node], gateway.value).get("listen")):
            _as_text(where)


def _as_words(workload: Node, command: Node) -> None:
    if not isinstance(command.value, str):
        for word in _items(workload, "command"):
            _as_text(word)
        return
    with contextlib.suppress(ValueError):
        words = shlex.split(command.value)
        command.value = [Node(word, command.line, command.column, word) for word in words]


def _as_text(node: Node) -> None:
    if isinstance(node.value, int | float | bool):
        node.value = node.text


def _items(node: Node, name: str) -> list[Node]:
    entries = node.value if isinstance(node.value, dict) else {}
    child = entries.get(name)
    items = child.value if child is not None and isinstance(child.value, list) else []
    return items if name in ("ports", "command") else [item for item in items if isinstance(item.value, dict)]


def _values(node: Node | None) -> list[Node]:
    return list(node.value.values()) if node is not None and isinstance(node.value, dict) else []


def _check_mesh(walk: Walk, mesh: MeshFile) -> None:
    if not is_trust_domain(mesh.trust_domain):
        walk.error(("trustDomain",), "bad-value", f"found '{mesh.trust_domain}'", "a name such as cluster.local")
    if not is_ip_address(mesh.bind) or is_wildcard(mesh.bind):
        expected = "the IP address at which other hosts reach this one, such as 10.0.0.5 (`ip address` shows them)"
        walk.error(("bind",), "bad-value", f"found '{mesh.bind}'", expected)


def _check_locality(walk: Walk, path: FieldPath, text: str) -> None:
    try:
        parse_locality(text)
    except OptionValueError as error:
        walk.error((*path, "locality"), "bad-value", error.found, error.expected)


def _check_names_and_capture(walk: Walk, path: FieldPath, workload: WorkloadEntry) -> None:
    try:
        parse_dns(workload.dns, workload.dns_upstreams)
    except OptionValueError as error:
        walk.error((*path, "dns"), "bad-value", error.found, error.expected)
    try:
        parse_capture(workload.capture)
    except OptionValueError as error:
        walk.error((*path, "capture"), "bad-value", error.found, error.expected)
    try:
        parse_inbound_capture(workload.inbound_capture)
    except OptionValueError as error:
        walk.error((*path, "inboundCapture"), "bad-value", error.found, error.expected)


def _check(walk: Walk, mesh: MeshFile) -> None:
    _check_mesh(walk, mesh)
    check_control_plane(walk, mesh)
    seen = {CONTROL_PLANE: "the control plane"}
    for index, workload in enumerate(mesh.workloads):
        path: FieldPath = ("workloads", index)
        if not workload.command and not workload.network_namespace:
            walk.error((*path, "command"), "bad-value", "the command is empty", "a program and its arguments")
        _unique(walk, seen, (workload.namespace, workload.name), f"workloads[{index}]", (*path, "name"))
        for name, texts, parse in (
            ("ports", workload.ports, parse_port),
            ("upstreams", workload.upstreams, parse_upstream),
        ):
            for number, text in enumerate(texts):
                try:
                    parse(text)
                except OptionValueError as error:
                    walk.error((*path, name, number), "bad-value", error.found, error.expected)
        if workload.uses and workload.scope == "all":
            walk.error((*path, "scope"), "bad-value", "scope: all and uses exclude each other", "one of scope, uses")
        _check_locality(walk, path, workload.locality)
        _check_names_and_capture(walk, path, workload)
        check_source(walk, (*path, "identityFrom"), workload.identity_from)
        http = workload.health_check.http
        if http is not None and not http.startswith("/"):
            walk.error((*path, "healthCheck", "http"), "bad-value", f"found '{http}'", "a path such as /health")
        if workload.metrics is not None and not is_metrics_path(workload.metrics.path):
            found = f"found '{workload.metrics.path}'"
            walk.error((*path, "metrics", "path"), "bad-value", found, "a path such as /metrics")
    for index, gateway in enumerate(mesh.gateways):
        path = ("gateways", index)
        _unique(walk, seen, (gateway.namespace, gateway.name), f"gateways[{index}]", (*path, "name"))
        _check_locality(walk, path, gateway.locality)
        check_source(walk, (*path, "identityFrom"), gateway.identity_from)
        for port, text in gateway.listen.items():
            try:
                parse_listen(f"{port}={text}")
            except OptionValueError as error:
                walk.error((*path, "listen", str(port)), "bad-value", error.found, error.expected)


def _unique(walk: Walk, seen: dict[str, str], key: tuple[str, str], what: str, path: FieldPath) -> None:
    name = process_name(*key)
    if name in seen:
        walk.error(path, "duplicate", f"the name '{name}' is taken by {seen[name]}", "a name of its own")
    seen.setdefault(name, what)
