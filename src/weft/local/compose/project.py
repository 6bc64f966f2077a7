"""A Compose project: what a mesh has to know of its services, read from its files and those that they include.

https://github.com/compose-spec/compose-spec/blob/main/spec.md. Only what is named here is read: everything else is the
engine's, and stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from weft.local.compose.interpolation import InterpolationError, interpolate
from weft.local.compose.ports import (
    ComposePort,
    PortError,
    PortSpec,
    PublishedPort,
    exposed_ports,
    port_from_text,
    port_spec,
)
from weft.schema.yaml_nodes import Node, parse_documents

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
"""Compose's own order. Beside the first there may be an override."""
_MOST_BYTES = 4 << 20
_MOST_FILES = 64
_DEPTH = 16
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class ComposeError(Exception):
    """The project cannot be read; the message names file, line and field."""


@dataclass(frozen=True, slots=True)
class ComposeService:
    """One service. `where` is its file and line. `published` says whether a port of it is reached from outside, and
    `taken` by which ports of the host, where that is known."""

    name: str
    where: str
    ports: tuple[ComposePort, ...] = ()
    published: bool = False
    taken: tuple[PublishedPort, ...] = ()
    networks: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    network_mode: str = ""
    replicas: int = 1
    proxied: bool = False


@dataclass(frozen=True, slots=True)
class Project:
    """All services by name, and the files that were read, in order."""

    services: tuple[ComposeService, ...]
    files: tuple[Path, ...]


def usual_files(directory: Path) -> tuple[Path, ...]:
    """The files that Compose itself takes in a directory. ComposeError if there is none."""
    for name in NAMES:
        if (path := directory / name).is_file():
            stem, _, suffix = name.rpartition(".")
            others = (directory / f"{stem}.override.{each}" for each in ("yaml", "yml", suffix))
            override = next((other for other in others if other.is_file()), None)
            return (path,) if override is None else (path, override)
    raise ComposeError(f"{directory.absolute()} has no {', '.join(NAMES[:-1])} or {NAMES[-1]}; say which with -f FILE")


def read_project(files: Sequence[Path], variables: Mapping[str, str]) -> Project:
    """The services of several files, of which later ones say more of the same. ComposeError."""
    reader = _Reader(variables)
    for path in files:
        reader.read(path)
    services = tuple(service for _, service in sorted(reader.services.items()))
    if not services:
        raise ComposeError(f"{', '.join(map(str, files))}: there are no services")
    return Project(services, tuple(reader.files))


class _Reader:
    """Reads files into `services`."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.services: dict[str, ComposeService] = {}
        self.files: list[Path] = []

    def read(self, path: Path, depth: int = 0) -> None:
        if len(self.files) >= _MOST_FILES or depth > _DEPTH:
            raise ComposeError(f"{path}: more than {_MOST_FILES} files, or files that include each other")
        root = _root(path)
        self.files.append(path)
        top = _mapping(root, path, "the file")
        for item in _items(top.get("include"), path, "include"):
            for included in self._included(item, path):
                self.read(included, depth + 1)
        for name, node in _mapping(top.get("services"), path, "services").items():
            if not _SERVICE.fullmatch(name):
                raise _error(path, node, f"services.{name}", "this is no name of a service")
            found = self._service(name, node, path, root, 0)
            before = self.services.get(name)
            self.services[name] = found if before is None else _joined(before, found)

    def _included(self, item: Node, path: Path) -> list[Path]:
        value = item.value
        nodes = _items(value.get("path"), path, "include.path") if isinstance(value, dict) else [item]
        return [path.parent / self._text(node, path, "include") for node in nodes]

    def _service(self, name: str, node: Node, path: Path, root: Node, depth: int) -> ComposeService:
        at = f"services.{name}"
        said = _mapping(node, path, at)
        base = ComposeService(name, f"{path}:{node.line}")
        if "extends" in said:
            base = replace(self._extended(said["extends"], path, root, at, depth), name=name, where=base.where)
        ports = [self._port(each, path, at) for each in _items(said.get("ports"), path, f"{at}.ports")]
        exposed = [self._exposed(each, path, at) for each in _items(said.get("expose"), path, f"{at}.expose")]
        led = [ComposePort(number, application) for spec, application in ports for number in spec.ports]
        found = replace(
            base,
            ports=(*led, *[ComposePort(number) for spec in exposed for number in spec.ports]),
            published=bool(led),
            taken=tuple(each for spec, _ in ports for each in spec.published),
            networks=self._names(said.get("networks"), path, f"{at}.networks"),
            profiles=self._names(said.get("profiles"), path, f"{at}.profiles"),
            network_mode=self._text(said.get("network_mode"), path, f"{at}.network_mode"),
            replicas=self._replicas(said, path, at),
            proxied=any(each.upper() == "HTTP_PROXY" for each in self._names(said.get("environment"), path, at)),
        )
        return _joined(base, found)

    def _extended(self, node: Node, path: Path, root: Node, at: str, depth: int) -> ComposeService:
        value = node.value
        if depth > _DEPTH:
            raise _error(path, node, f"{at}.extends", "services extend each other")
        if isinstance(value, dict):
            name = self._text(value.get("service"), path, f"{at}.extends.service")
            file = self._text(value.get("file"), path, f"{at}.extends.file")
        else:
            name, file = self._text(node, path, f"{at}.extends"), ""
        if file:
            path = path.parent / file
            root = _root(path)
        services = _mapping(_mapping(root, path, "the file").get("services"), path, "services")
        if name not in services:
            raise _error(path, node, f"{at}.extends", f"there is no service '{name}'")
        return self._service(name, services[name], path, root, depth + 1)

    def _port(self, node: Node, path: Path, at: str) -> tuple[PortSpec, str]:
        """An entry of `ports`, and what it is said to speak."""
        field = f"{at}.ports"
        where = f"{path}:{node.line}: {field}"
        try:
            if not isinstance(node.value, dict):
                return port_from_text(self._text(node, path, field), where), ""
            names = ("target", "published", "host_ip", "protocol", "app_protocol")
            target, published, address, protocol, application = (
                self._text(node.value.get(name), path, f"{field}.{name}") for name in names
            )
            return port_spec(target, published, address, protocol, where), application
        except PortError as error:
            part = node.value.get(error.field, node) if isinstance(node.value, dict) else node
            raise _error(path, part, field if part is node else f"{field}.{error.field}", str(error)) from None

    def _exposed(self, node: Node, path: Path, at: str) -> PortSpec:
        try:
            return exposed_ports(self._text(node, path, f"{at}.expose"))
        except PortError as error:
            raise _error(path, node, f"{at}.expose", str(error)) from None

    def _replicas(self, said: Mapping[str, Node], path: Path, at: str) -> int:
        deploy = _mapping(said.get("deploy"), path, f"{at}.deploy")
        text = self._text(said.get("scale") or deploy.get("replicas"), path, f"{at}.deploy.replicas")
        return int(text) if text.isascii() and text.isdecimal() else 1

    def _names(self, node: Node | None, path: Path, at: str) -> tuple[str, ...]:
        """The items of a list, or the keys of a mapping; of ``NAME=VALUE`` the name."""
        if node is None or node.value is None:
            return ()
        if isinstance(node.value, dict):
            return tuple(node.value)
        return tuple(self._text(each, path, at).partition("=")[0] for each in _items(node, path, at))

    def _text(self, node: Node | None, path: Path, at: str) -> str:
        if node is None or node.value is None:
            return ""
        if isinstance(node.value, dict | list):
            raise _error(path, node, at, "expected text")
        try:
            return interpolate(node.text, self._variables)
        except InterpolationError as error:
            raise _error(path, node, at, str(error)) from error


def _joined(before: ComposeService, after: ComposeService) -> ComposeService:
    """What a later file says is added to lists, and takes the place of single values."""
    ports = {port.number: port for port in (*before.ports, *after.ports)}
    return replace(
        before,
        ports=tuple(port for _, port in sorted(ports.items())),
        published=before.published or after.published,
        taken=tuple(dict.fromkeys((*before.taken, *after.taken))),
        networks=tuple(dict.fromkeys((*before.networks, *after.networks))),
        profiles=tuple(dict.fromkeys((*before.profiles, *after.profiles))),
        network_mode=after.network_mode or before.network_mode,
        replicas=after.replicas if after.replicas != 1 else before.replicas,
        proxied=before.proxied or after.proxied,
    )


def _root(path: Path) -> Node:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ComposeError(f"{path}: {error.strerror}") from error
    if len(data) > _MOST_BYTES:
        raise ComposeError(f"{path} is larger than {_MOST_BYTES >> 20} MiB")
    parsed = list(parse_documents(data.decode("utf-8-sig", "replace"), str(path)))
    for each in parsed:
        if each.problems:
            raise ComposeError(str(each.problems[0]))
    roots = [each.root for each in parsed if each.root is not None]
    if len(roots) != 1:
        raise ComposeError(f"{path} holds {len(roots)} documents; expected one")
    return roots[0]


def _mapping(node: Node | None, path: Path, at: str) -> Mapping[str, Node]:
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        raise _error(path, node, at, "expected a mapping")
    return node.value


def _items(node: Node | None, path: Path, at: str) -> list[Node]:
    if node is None or node.value is None:
        return []
    if isinstance(node.value, dict):
        raise _error(path, node, at, "expected a list")
    return node.value if isinstance(node.value, list) else [node]


def _error(path: Path, node: Node, at: str, message: str) -> ComposeError:
    return ComposeError(f"{path}:{node.line}: {at}: {message}")
