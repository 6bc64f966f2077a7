"""What turns a Compose project into a mesh: a second compose file that is laid over the first, and the Services.

Each service gets a sidecar in its network namespace and the variables by which HTTP clients use it; a control plane is
added. Sidecars prove who they are by their user at the control plane's unix socket, so there is no secret in any file.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from weft.local.compose.ports import PublishedPort
from weft.local.compose.project import ComposeService, Project

CONTROL_PLANE = "weft-control-plane"
OUTBOUND_PORT = 15001
SUFFIX = "-weft"
_XDS_PORT = 15012
DEFAULT_IMAGE = "weft"
_USERS = range(20_000, 60_000)
_HOME = "/var/lib/weft"
"""What is mounted there is made by the engine, open to others; homes are below, each its user's own."""
_OWN_HOME = f"{_HOME}/{CONTROL_PLANE}"
_SOCKET = "/run/weft/agents.sock"
_EVERYWHERE = "0.0.0.0"  # noqa: S104  (in a container of its own)
_LOOPBACK = "localhost,127.0.0.1,::1"
_TCP = frozenset(
    (21, 22, 25, 53, 110, 143, 389, 465, 587, 636, 873, 993, 995, 1433, 1521, 1883, 2181, 3306, 3389, 4222, 5432, 5671,
     5672, 6379, 8883, 9042, 9092, 11211, 26257, 27017)
)  # fmt: skip
"""Container ports that speak no HTTP unless `app_protocol` says so."""
_PROTOCOLS = {
    "http": "http",
    "http2": "http2",
    "h2c": "http2",
    "grpc": "grpc",
    "tcp": "tcp",
    "https": "tls",
    "tls": "tls",
}


@dataclass(frozen=True, slots=True)
class Generated:
    """`compose` is the text of the file to lay over the project's, `documents` that of the Services; `left_out` says of
    each service that stays outside of the mesh why, `notes` what else is to be known."""

    compose: str
    documents: str
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def generate(project: Project, image: str = DEFAULT_IMAGE, documents: str = "./services.yaml") -> Generated:
    """The mesh of a project; `documents` is where the second text will be, as the first names it. Pure."""
    left_out, notes, inside = [], [], []
    for service in project.services:
        if why := _stays_outside(service):
            left_out.append(f"{service.where}: service '{service.name}' stays outside of the mesh: {why}")
        else:
            inside.append(service)
            notes += [f"{service.where}: service '{service.name}': {note}" for note in _notes(service)]
    notes += _published_twice(project.services)
    users = _users(service.name for service in inside)
    services: dict[str, Any] = {CONTROL_PLANE: _control_plane(inside, users, image, documents)}
    for service in inside:
        services[service.name] = {"environment": _environment()}
        services[f"{service.name}{SUFFIX}"] = _sidecar(service, users[service.name], image)
    value = {"services": services, "volumes": {"weft-control-plane": {}, "weft-run": {}}}
    head = "# Made by `weft compose generate`. Laid over the project's own files, which stay as they are.\n"
    texts = [yaml.safe_dump(_document(service), sort_keys=False) for service in inside if service.ports]
    return Generated(head + yaml.safe_dump(value, sort_keys=False), "---\n".join(texts), tuple(left_out), tuple(notes))


def _stays_outside(service: ComposeService) -> str:
    if not _is_bridged(service):
        return f"network_mode '{service.network_mode}' is no network of its own"
    if service.replicas != 1:
        return f"its {service.replicas} replicas have network namespaces of their own, and a sidecar joins one"
    if object_name(service.name) != service.name.lower():
        return f"a Service cannot be called so; '{object_name(service.name)}' could"
    if service.name == CONTROL_PLANE or service.name.endswith(SUFFIX):
        return "weft's own services are called so"
    return ""


def _notes(service: ComposeService) -> list[str]:
    found = []
    if service.proxied:
        found.append("its HTTP_PROXY is replaced by that of its sidecar")
    if service.published:
        found.append("its published ports lead to the application itself, around the mesh")
    if other := [str(port.number) for port in service.ports if _protocol(port.number, port.application) != "http"]:
        found.append(f"callers of port {', '.join(other)} go around the mesh, unless they honour HTTP_PROXY")
    return found


def _published_twice(services: Iterable[ComposeService]) -> list[str]:
    """Ports of the host that two services, or one of them twice, want at the same time. Those of profiles that have
    nothing in common may be meant for different times."""
    found: list[str] = []
    before: list[tuple[ComposeService, PublishedPort]] = []
    for service in services:
        for port in service.taken if _is_bridged(service) else ():
            met = (each for each in before if port.meets(each[1]) and _run_together(service, each[0]))
            if (other := next(met, None)) is not None:
                found.append(
                    f"{port.where}: service '{service.name}' publishes port {port.number}/{port.protocol} of the host, "
                    f"and service '{other[0].name}' does too ({other[1].where}); an engine starts only one of them"
                )
            before.append((service, port))
    return found


def _is_bridged(service: ComposeService) -> bool:
    return service.network_mode in ("", "bridge")


def _run_together(one: ComposeService, other: ComposeService) -> bool:
    return not one.profiles or not other.profiles or not set(one.profiles).isdisjoint(other.profiles)


def object_name(name: str) -> str:
    """A service's name as a Service may have it."""
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:63]


def _users(names: Iterable[str]) -> dict[str, int]:
    """A user for each service, the same whatever others there are, unless two meet."""
    found: dict[str, int] = {}
    taken: set[int] = set()
    for name in sorted(names):
        number = zlib.crc32(name.encode()) % len(_USERS)
        while _USERS[number] in taken:
            number = (number + 1) % len(_USERS)
        found[name] = _USERS[number]
        taken.add(_USERS[number])
    return found


def _image(image: str) -> str:
    return f"${{WEFT_IMAGE:-{image}}}"


def _control_plane(inside: list[ComposeService], users: dict[str, int], image: str, documents: str) -> dict[str, Any]:
    networks = list(dict.fromkeys(each for service in inside for each in (service.networks or ("default",))))
    allowed = [word for name, user in users.items() for word in ("--allow-uid", f"{user}=default/{object_name(name)}")]
    return {
        "image": _image(image),
        "command": [
            "weft", "serve", "--home", _OWN_HOME, "--bind", _EVERYWHERE, "--advertise", CONTROL_PLANE,
            "--xds-port", str(_XDS_PORT), "--agent-port", str(_XDS_PORT + 1), "--documents", "/etc/weft/services.yaml",
            "--shared-socket", _SOCKET, *allowed,
        ],
        "networks": networks,
        "volumes": [f"{documents}:/etc/weft/services.yaml:ro", f"weft-control-plane:{_HOME}", "weft-run:/run/weft"],
        "healthcheck": {
            "test": ["CMD", "weft", "get", "services", "--home", _OWN_HOME, "-o", "json"],
            "interval": "2s", "timeout": "10s", "retries": 30,
        },
        "restart": "unless-stopped",
    }  # fmt: skip


def _environment() -> dict[str, str]:
    proxy = f"http://127.0.0.1:{OUTBOUND_PORT}"
    return {"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": _LOOPBACK, "no_proxy": _LOOPBACK}


def _sidecar(service: ComposeService, user: int, image: str) -> dict[str, Any]:
    name = object_name(service.name)
    words = ["weft", "run", "--home", f"{_HOME}/{name}", "--control-plane", f"unix:{_SOCKET}", "--name", name]
    words += [
        "--service-account",
        name,
        "--labels",
        f"app={name}",
        "--outbound-port",
        str(OUTBOUND_PORT),
        "--proxy-auth",
        "off",
    ]
    words += [word for port in service.ports for word in ("--port", str(port.number))]
    words += ["--inbound-address", f"towards:{CONTROL_PLANE}:{_XDS_PORT}"]
    made: dict[str, Any] = {
        "image": _image(image),
        "user": f"{user}:{user}",
        "network_mode": f"service:{service.name}",
        "depends_on": {
            CONTROL_PLANE: {"condition": "service_healthy"},
            service.name: {"condition": "service_started"},
        },
        "command": words,
        "tmpfs": [f"{_HOME}:mode=1777"],
        "volumes": ["weft-run:/run/weft"],
        "stop_grace_period": "45s",
        "restart": "unless-stopped",
    }
    return {**made, "profiles": list(service.profiles)} if service.profiles else made


def _protocol(number: int, said: str) -> str:
    if said:
        return _PROTOCOLS.get(said.lower(), "tcp")
    return "tcp" if number in _TCP else "http"


def _document(service: ComposeService) -> dict[str, Any]:
    name = object_name(service.name)
    ports = [
        {"name": f"{_protocol(port.number, port.application)}-{port.number}", "port": port.number}
        for port in service.ports
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports},
    }
