"""What weft.yaml says of the control plane's doors and keys: who calls its admin API, what seals its store, whom it
believes. Decoded, checked, and as arguments of `weft serve`. Secrets stand in files or variables, never here."""

from __future__ import annotations

import ipaddress
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from weft.model.addresses import is_ip_address
from weft.model.origin import FieldPath
from weft.schema.walk import Walk
from weft.schema.wording import nearest_name
from weft.settings.workload_api import socket_from_text

_FORMS = ("file", "env", "command", "python")
_KEY_EXPECTED = "file:PATH, env:NAME, command:PROGRAM ARGUMENTS or python:MODULE:FACTORY"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAdminEntry:
    """The admin API for other hosts, over TLS 1.3 at `bind` (ADDRESS:PORT). `hosts` are the names by which they reach
    it; `certificate` and `key` are its files (default: a certificate of the mesh), `clientCA` has the roots of client
    certificates besides the mesh's."""

    bind: str
    hosts: tuple[str, ...] = ()
    certificate: str = ""
    key: str = ""
    client_ca: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcEntry:
    """Bearer tokens of an OpenID provider, which the admin API takes. `roles` are CLAIM=VALUE:ROLE, for editors with
    their namespaces behind."""

    issuer: str
    audience: str
    roles: tuple[str, ...]
    name_claim: str = "sub"
    ca_file: str = ""


class ControlPlaneWords(Protocol):
    """The part of a mesh that this is about."""

    @property
    def remote_admin(self) -> RemoteAdminEntry | None:
        """Where other hosts reach the admin API."""

    @property
    def oidc(self) -> OidcEntry | None:
        """Whose tokens it takes."""

    @property
    def store_key(self) -> str:
        """What seals the store."""

    @property
    def former_store_key(self) -> str:
        """What did before."""

    @property
    def identity_from(self) -> str:
        """The other source of identities."""

    @property
    def imports(self) -> str:
        """The file that says which registries are imported."""

    @property
    def probe_networks(self) -> tuple[str, ...]:
        """The networks in which instances without an agent are asked for their health."""


def check_control_plane(walk: Walk, mesh: ControlPlaneWords) -> None:
    """Record what is wrong. A key that stands here by mistake is not repeated."""
    if mesh.remote_admin is not None:
        _check_remote_admin(walk, ("remoteAdmin",), mesh.remote_admin)
    if mesh.oidc is not None:
        _check_oidc(walk, ("oidc",), mesh.oidc)
    for name, text in (("storeKey", mesh.store_key), ("formerStoreKey", mesh.former_store_key)):
        _check_store_key(walk, (name,), text)
    check_source(walk, ("identityFrom",), mesh.identity_from)
    for index, network in enumerate(mesh.probe_networks):
        _check_network(walk, ("probeNetworks", index), network)


def check_source(walk: Walk, path: FieldPath, text: str) -> None:
    """Record that `text` names no Workload API."""
    try:
        socket_from_text(text)
    except ValueError as error:
        found, _, expected = str(error).partition(": expected ")
        walk.error(path, "bad-value", f"found {found}", expected or "a shorter path")


def _check_remote_admin(walk: Walk, path: FieldPath, entry: RemoteAdminEntry) -> None:
    host, _, port = entry.bind.rpartition(":")
    if not is_ip_address(host.strip("[]")) or not (port.isascii() and port.isdecimal() and int(port) <= 65535):
        walk.error((*path, "bind"), "bad-value", f"found '{entry.bind}'", "ADDRESS:PORT, such as 10.0.0.7:15443")
    if bool(entry.certificate) is not bool(entry.key):
        there, missing = ("certificate", "key") if entry.certificate else ("key", "certificate")
        walk.error((*path, there), "bad-value", f"'{there}' stands without '{missing}'", "both, or neither")


def _check_oidc(walk: Walk, path: FieldPath, entry: OidcEntry) -> None:
    from weft.admin.people.oidc import OidcSettingsError, role_rule  # noqa: PLC0415 - few meshes have it

    if not entry.issuer.startswith("https://") and not entry.issuer.startswith("http://127.0.0.1"):
        walk.error((*path, "issuer"), "bad-value", f"found '{entry.issuer}'", "the provider's URL, over https")
    if not entry.audience:
        walk.error((*path, "audience"), "bad-value", "it is empty", "what its tokens must be for")
    if not entry.roles:
        walk.error((*path, "roles"), "bad-value", "nobody has a role", "at least one, such as groups=sre:operator")
    for index, text in enumerate(entry.roles):
        try:
            role_rule(text)
        except OidcSettingsError as error:
            found, _, expected = str(error).partition(": ")
            walk.error((*path, "roles", index), "bad-value", f"found {found}", expected.removeprefix("expected "))


def _check_network(walk: Walk, path: FieldPath, text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        walk.error(path, "bad-value", str(error), "a network such as 10.0.0.0/8")


def _check_store_key(walk: Walk, path: FieldPath, text: str) -> None:
    form, colon, rest = text.partition(":")
    if not text or (form in _FORMS and rest):
        return
    if form in _FORMS:
        walk.error(path, "bad-value", f"'{form}:' names nothing", _KEY_EXPECTED)
        return
    near = nearest_name(form, _FORMS) if colon else ""
    message = "it is none of the ways to name a key; a key itself has no place in this file"
    walk.error(path, "bad-value", message, _KEY_EXPECTED, nearest=f"{near}:" if near else "")


def control_plane_arguments(mesh: ControlPlaneWords, base: Path) -> list[str]:
    """Options of `weft serve`; paths are relative to `base`."""
    return [
        *_remote_admin_arguments(mesh.remote_admin, base),
        *_oidc_arguments(mesh.oidc, base),
        *_given("--store-key", _key_at(mesh.store_key, base)),
        *_given("--former-store-key", _key_at(mesh.former_store_key, base)),
        *_given("--identity-from", mesh.identity_from),
        *_given("--imports", _at(mesh.imports, base)),
        *(word for network in mesh.probe_networks for word in ("--probe-network", network)),
    ]


CHANGEABLE = frozenset(
    {
        "--admin-bind",
        "--admin-host",
        "--admin-cert",
        "--admin-key",
        "--admin-client-ca",
        "--oidc-issuer",
        "--oidc-audience",
        "--oidc-role-claim",
        "--oidc-name-claim",
        "--oidc-ca-file",
        "--store-key",
        "--former-store-key",
        "--identity-from",
        "--imports",
        "--probe-network",
    }
)
"""What may change while the mesh is up: the control plane is started anew with it, and nothing else is touched."""


def secret_variables(mesh: ControlPlaneWords) -> tuple[str, ...]:
    """Variables that are for the control plane alone: no workload is started with them."""
    texts = (mesh.store_key, mesh.former_store_key)
    return tuple(text.removeprefix("env:") for text in texts if text.startswith("env:"))


def _remote_admin_arguments(entry: RemoteAdminEntry | None, base: Path) -> list[str]:
    if entry is None:
        return []
    words = ["--admin-bind", entry.bind]
    words += [word for host in entry.hosts for word in ("--admin-host", host)]
    files = (("--admin-cert", entry.certificate), ("--admin-key", entry.key), ("--admin-client-ca", entry.client_ca))
    return words + [word for option, path in files for word in _given(option, _at(path, base))]


def _oidc_arguments(entry: OidcEntry | None, base: Path) -> list[str]:
    if entry is None:
        return []
    words = ["--oidc-issuer", entry.issuer, "--oidc-audience", entry.audience]
    words += [word for rule in entry.roles for word in ("--oidc-role-claim", rule)]
    if entry.name_claim != "sub":
        words += ["--oidc-name-claim", entry.name_claim]
    return words + _given("--oidc-ca-file", _at(entry.ca_file, base))


def _given(option: str, value: str) -> list[str]:
    return [option, value] if value else []


def _at(path: str, base: Path) -> str:
    return str(base / Path(path).expanduser()) if path else ""


def _key_at(text: str, base: Path) -> str:
    """The file of a key beside weft.yaml; a program's path is taken from there too if it has a directory."""
    form, _, rest = text.partition(":")
    if form == "file":
        return f"file:{_at(rest, base)}"
    if form == "command" and (words := shlex.split(rest)) and "/" in words[0]:
        return f"command:{shlex.join([_at(words[0], base), *words[1:]])}"
    return text
