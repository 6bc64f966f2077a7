"""What `weft validate` finds in a weft.yaml: its workloads as the mesh would meet them, and what its paths lead to."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from weft.agent.group import grouped_ports
from weft.agent.parameters import DEFAULT_SERVICE_ACCOUNT, PortParameter
from weft.local.commands import OWN_PYTHON
from weft.local.meshfile import GatewayEntry, MeshFile, MeshFileError, WorkloadEntry, decode_meshfile, meshfile_lines
from weft.local.option_syntax import parse_listen, parse_locality, parse_port, parse_upstream
from weft.mesh.services.workloadgroup import build_group
from weft.mesh.services.workloads import workload_source
from weft.model.document import Document
from weft.model.groups import GroupAnswer
from weft.model.labels import gateway_labels, labels_from_mapping
from weft.model.locality import NOWHERE, locality_from_text
from weft.model.origin import FieldLines, FieldPath
from weft.model.problem import Problem, Severity
from weft.model.workload import (
    GatewayBinding,
    Scope,
    SocketAddress,
    Upstream,
    Workload,
    WorkloadPort,
    WorkloadState,
)
from weft.schema.kinds.workloadgroup import WorkloadGroupSpec
from weft.schema.wording import nearest_name

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class CheckedMesh:
    """A weft.yaml for `weft validate`: the workloads it would start, the files with documents that it names, and what
    is wrong with it alone. `lines` knows where its fields stand; `unprobed` are the places of workloads with ports that
    say nothing of their health."""

    lines: FieldLines
    trust_domain: str = ""
    workloads: tuple[Workload, ...] = ()
    documents: tuple[Path, ...] = ()
    problems: tuple[Problem, ...] = ()
    unprobed: tuple[int, ...] = ()

    def placed(self, problems: Iterable[Problem]) -> Iterator[Problem]:
        """`problems` of a mesh; those that are told of a workload stand at its line of this file."""
        places = {workload_source(one): _place(one, index) for index, one in enumerate(self.workloads)}
        count = sum(one.gateway is None for one in self.workloads)
        for problem in problems:
            found = places.get(problem.origin.source)
            if found is None:
                yield problem
                continue
            kind, index = found
            path = (kind, index if kind == "workloads" else index - count, *problem.path)
            yield replace(problem, origin=self.lines.origin(*path), path=path)


def _place(workload: Workload, index: int) -> tuple[str, int]:
    return ("workloads" if workload.gateway is None else "gateways", index)


def check_meshfile(text: str, source: str, base: Path) -> CheckedMesh:
    """The weft.yaml `text`, whose paths are relative to `base`."""
    try:
        mesh = decode_meshfile(text, source)
    except MeshFileError as error:
        return CheckedMesh(FieldLines(source), problems=error.problems)
    lines = meshfile_lines(text, source)
    return CheckedMesh(
        lines,
        mesh.trust_domain,
        planned_workloads(mesh),
        tuple(path for name in (*mesh.documents, *mesh.apply) if _has_files(path := base / Path(name).expanduser())),
        tuple(_path_problems(mesh, base, lines)),
        tuple(index for index, entry in enumerate(mesh.workloads) if entry.ports and _is_unprobed(entry)),
    )


def _is_unprobed(entry: WorkloadEntry) -> bool:
    return not entry.group and entry.health_check.http is None and entry.health_check.tcp is None


def _has_files(path: Path) -> bool:
    return any(path.rglob("*.*")) if path.is_dir() else path.exists()


def planned_workloads(mesh: MeshFile) -> tuple[Workload, ...]:
    """The workloads that `mesh` starts, then its gateways, as they will be registered: healthy, at addresses that are
    not known yet."""
    return (*map(_workload, mesh.workloads), *map(_gateway, mesh.gateways))


def _workload(entry: WorkloadEntry) -> Workload:
    ports = [parse_port(text) for text in entry.ports]
    upstreams = [parse_upstream(text) for text in entry.upstreams]
    return Workload(
        entry.name,
        entry.namespace,
        entry.service_account or ("" if entry.group else DEFAULT_SERVICE_ACCOUNT),
        labels_from_mapping(entry.labels),
        tuple(map(_planned_port, ports)),
        SocketAddress(_LOOPBACK, 1),
        tuple(Upstream(one.service, one.port, SocketAddress(_LOOPBACK, one.local or 1)) for one in upstreams),
        entry.uses,
        Scope(entry.scope),
        state=WorkloadState.HEALTHY,
        locality=parse_locality(entry.locality),
        group=entry.group,
    )


def _planned_port(port: PortParameter) -> WorkloadPort:
    address = SocketAddress(_LOOPBACK, port.port)
    return WorkloadPort(port.port, address, address, port.name)


def with_groups(checked: CheckedMesh, documents: Iterable[Document[object]]) -> CheckedMesh:
    """`checked`, with what the WorkloadGroups among `documents` say. A group that is not there is told."""
    if not any(one.group for one in checked.workloads):
        return checked
    groups = {(one.key.namespace, one.key.name): one.spec for one in documents}
    known = {key: build_group(spec) for key, spec in groups.items() if isinstance(spec, WorkloadGroupSpec)}
    problems = [
        _unknown_group(checked.lines, index, one, [name for place, name in known if place == one.namespace])
        for index, one in enumerate(checked.workloads)
        if one.group and (one.namespace, one.group) not in known
    ]
    workloads = tuple(_in_group(one, known.get((one.namespace, one.group))) for one in checked.workloads)
    return replace(checked, workloads=workloads, problems=(*checked.problems, *problems))


def _unknown_group(lines: FieldLines, index: int, one: Workload, names: Iterable[str]) -> Problem:
    found = f"there is no WorkloadGroup '{one.group}' in namespace {one.namespace}, and the workload waits for it"
    path: FieldPath = ("workloads", index, "group")
    return _problem(lines, path, Severity.WARNING, "unknown-group", found, nearest=nearest_name(one.group, names))


def _in_group(one: Workload, group: GroupAnswer | None) -> Workload:
    account = one.service_account or (group.service_account if group else "") or DEFAULT_SERVICE_ACCOUNT
    if group is None:
        return replace(one, service_account=account)
    own = tuple(PortParameter(port.port, name=port.name) for port in one.ports)
    return replace(
        one,
        service_account=account,
        labels=labels_from_mapping({**dict(group.labels), **dict(one.labels)}),
        ports=tuple(map(_planned_port, grouped_ports(own, group.ports))),
        locality=one.locality if one.locality != NOWHERE else locality_from_text(group.locality),
        weight=group.weight,
    )


def _gateway(entry: GatewayEntry) -> Workload:
    parsed = [parse_listen(f"{port}={text}") for port, text in entry.listen.items()]
    ports = tuple((number, SocketAddress(address or entry.bind, port or 1)) for number, address, port in parsed)
    binding = GatewayBinding(entry.name, entry.bind, ports=ports)
    place = parse_locality(entry.locality)
    labels = gateway_labels(entry.name, labels_from_mapping(entry.labels))
    return Workload(
        entry.name, entry.namespace, "default", labels, gateway=binding, state=WorkloadState.HEALTHY, locality=place
    )


def _path_problems(mesh: MeshFile, base: Path, lines: FieldLines) -> Iterator[Problem]:
    """Documents, working directories and programs that are not there. What a workload starts may be on the machine that
    will run it, so that is a warning."""
    for name, texts in (("documents", mesh.documents), ("apply", mesh.apply)):
        for index, text in enumerate(texts):
            path = base / Path(text).expanduser()
            if not path.exists():
                found = f"there is no file or directory '{text}'"
                yield _problem(lines, (name, index), Severity.ERROR, "unknown-path", found, nearest=_near(path))
    for index, entry in enumerate(mesh.workloads):
        directory = base / Path(entry.working_directory).expanduser()
        if not directory.is_dir():
            found = f"there is no directory '{entry.working_directory}' here"
            where: FieldPath = ("workloads", index, "workingDirectory")
            yield _problem(lines, where, Severity.WARNING, "unknown-path", found, nearest=_near(directory))
        elif found := _missing_program(entry, directory):
            expected = f"a program, such as {OWN_PYTHON} for the Python that weft runs on"
            yield _problem(lines, ("workloads", index, "command"), Severity.WARNING, "unknown-program", found, expected)


def _missing_program(entry: WorkloadEntry, directory: Path) -> str:
    """What is wrong with the program of a workload, or nothing."""
    program = next(iter(entry.command), OWN_PYTHON)
    if program == OWN_PYTHON:
        return ""
    if "/" in program:
        path = directory / Path(program)
        return "" if shutil.which(str(path)) else f"'{program}' is no program in {directory}"
    return "" if shutil.which(program, path=entry.env.get("PATH")) else f"there is no program '{program}' here"


def _near(path: Path) -> str:
    names = (one.name for one in path.parent.iterdir()) if path.parent.is_dir() else ()
    return nearest_name(path.name, names)


def _problem(
    lines: FieldLines,
    path: FieldPath,
    severity: Severity,
    code: str,
    message: str,
    expected: str = "",
    nearest: str = "",
) -> Problem:
    return Problem(severity, code, message, lines.origin(*path), None, path, expected, nearest)
