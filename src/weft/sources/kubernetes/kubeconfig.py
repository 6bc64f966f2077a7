"""Kubeconfig files, and the files of a pod, as access to an API server."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from weft.sources.kubernetes.access import Access, AccessError, Given, check_server, from_base64
from weft.sources.kubernetes.plugins import Plugin, run_plugin

IN_CLUSTER = "in-cluster"
"""What stands for a kubeconfig file in a pod."""
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
_OTHERS_READ = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP


class _Cluster(msgspec.Struct, rename="kebab"):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class _User(msgspec.Struct, rename="kebab"):
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    impersonate: str = msgspec.field(default="", name="as")
    username: str = ""
    exec: Plugin | None = None
    auth_provider: Any = None


class _Context(msgspec.Struct):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(msgspec.Struct):
    name: str
    cluster: _Cluster


class _NamedUser(msgspec.Struct):
    name: str
    user: _User | None = None


class _NamedContext(msgspec.Struct):
    name: str
    context: _Context


class _Config(msgspec.Struct, rename="kebab"):
    current_context: str = ""
    clusters: tuple[_NamedCluster, ...] | None = None
    contexts: tuple[_NamedContext, ...] | None = None
    users: tuple[_NamedUser, ...] | None = None


@dataclass(frozen=True, slots=True)
class KubeconfigFile:
    """A kubeconfig file (or `IN_CLUSTER`) and one of its contexts (empty: its current one)."""

    path: str
    context: str = ""

    @property
    def in_cluster(self) -> bool:
        """Whether it stands for the service account of a pod."""
        return self.path == IN_CLUSTER

    @property
    def title(self) -> str:
        """What people call it."""
        return self.context or Path(self.path).name

    def access(self) -> Access:
        """What stands there now. AccessError or OSError says what is wrong."""
        if self.path == IN_CLUSTER:
            return in_cluster_access()
        return kubeconfig_access(Path(self.path), self.context)


def in_cluster_access(directory: Path = SERVICE_ACCOUNT, environment: Mapping[str, str] = os.environ) -> Access:
    """Access by the service account of the pod that this process runs in. AccessError outside of one."""
    host, port = environment.get(_HOST, ""), environment.get(_PORT, "")
    if not host or not port or not (directory / "token").exists():
        raise AccessError(f"this is no pod with a service account: there is no {_HOST}, or no {directory / 'token'}")
    server = check_server(f"https://{f'[{host}]' if ':' in host else host}:{port}")
    return Access(IN_CLUSTER, server, Given(file=directory / "ca.crt"), token=Given(file=directory / "token"))


def in_cluster_namespace(directory: Path = SERVICE_ACCOUNT) -> str:
    """The namespace of the pod that this process runs in; empty if that is not known."""
    try:
        return (directory / "namespace").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def kubeconfig_access(path: Path, context: str = "") -> Access:
    """Access by a kubeconfig file, for a program. AccessError if it is none, or asks for what weft does not do."""
    return _access(_merged((path,)), context, plugins=False)


def personal_access(paths: Sequence[Path], context: str = "") -> Access:
    """Access for a person at the command line, by several files: of what more than one says, the first counts. Their
    credential plugin is run, so this may take long. AccessError."""
    return _access(_merged(paths), context, plugins=True)


def context_of(paths: Sequence[Path], context: str = "") -> tuple[str, str]:
    """The name of the context that is meant, and its namespace ("": it names none). AccessError."""
    merged = _merged(paths)
    name, found = merged.context(context)
    return name, found.namespace


def contexts_of(paths: Sequence[Path]) -> tuple[str, ...]:
    """The names of all contexts. AccessError."""
    return tuple(_merged(paths).contexts)


@dataclass(frozen=True, slots=True)
class _Merged:
    """What several files say, each with the file that does."""

    title: str
    paths: tuple[Path, ...]
    current: str
    contexts: Mapping[str, tuple[_Context, Path]]
    clusters: Mapping[str, tuple[_Cluster, Path]]
    users: Mapping[str, tuple[_User, Path]]

    def context(self, wanted: str) -> tuple[str, _Context]:
        name = wanted or self.current
        if not name:
            raise AccessError(f"{self.title} has no current-context; say which with --context")
        found, _ = _named(self.contexts, name, f"{self.title}: context")
        return name, found


def _merged(paths: Sequence[Path]) -> _Merged:
    contexts: dict[str, tuple[_Context, Path]] = {}
    clusters: dict[str, tuple[_Cluster, Path]] = {}
    users: dict[str, tuple[_User, Path]] = {}
    current = ""
    for path in paths:
        config = _read(path)
        current = current or config.current_context
        for context in config.contexts or ():
            contexts.setdefault(context.name, (context.context, path))
        for cluster in config.clusters or ():
            clusters.setdefault(cluster.name, (cluster.cluster, path))
        for user in config.users or ():
            users.setdefault(user.name, (user.user or _User(), path))
    return _Merged(", ".join(map(str, paths)), tuple(paths), current, contexts, clusters, users)


def _access(merged: _Merged, context: str, *, plugins: bool) -> Access:
    name, found = merged.context(context)
    cluster, path = _named(merged.clusters, found.cluster, f"{merged.title}: cluster")
    user, of_user = _named(merged.users, found.user, f"{merged.title}: user") if found.user else (_User(), path)
    _refuse(path, of_user, cluster, user, plugins=plugins)
    try:
        server = check_server(cluster.server)
    except AccessError as error:
        raise AccessError(f"{path}: cluster '{found.cluster}': {error}") from error
    near, home = path.parent, of_user.parent
    access = Access(
        name,
        server,
        _given(cluster.certificate_authority_data, cluster.certificate_authority, near, "certificate-authority-data"),
        cluster.tls_server_name,
        _given(user.client_certificate_data, user.client_certificate, home, "client-certificate-data"),
        _given(user.client_key_data, user.client_key, home, "client-key-data"),
        Given(user.token.encode()) if user.token else _given("", user.token_file, home, "tokenFile"),
        said_in=merged.paths,
    )
    if access.certificate.there != access.key.there:
        raise AccessError(f"{of_user}: user '{found.user}' has a client certificate or its key, and not both")
    _check_open(of_user, access)
    if user.exec is not None:
        access = _asked(access, user.exec, of_user)
    return access


def _asked(access: Access, plugin: Plugin, path: Path) -> Access:
    """With what a plugin says of the user in the place of what the file does."""
    told = {"server": access.server, "tls-server-name": access.server_name}
    if access.authorities.there:
        told["certificate-authority-data"] = base64.b64encode(access.authorities.read()).decode()
    try:
        shown = run_plugin(plugin, path.parent, {key: value for key, value in told.items() if value})
    except AccessError as error:
        raise AccessError(f"{path}: {error}") from error
    certificate, key = Given(shown.certificate.encode()), Given(shown.key.encode())
    token = Given(shown.token.encode())
    return replace(
        access,
        certificate=certificate if certificate.there else access.certificate,
        key=key if key.there else access.key,
        token=token if token.there else access.token,
        until=shown.until,
    )


def _read(path: Path) -> _Config:
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=_Config)
    except OSError as error:
        raise AccessError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise AccessError(f"{path} is no kubeconfig file") from error


def _named(found: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in found:
        there = ", ".join(sorted(found)) or "none"
        raise AccessError(f"{what} '{name}' is not there; there is {there}")
    return found[name]


def _refuse(path: Path, of_user: Path, cluster: _Cluster, user: _User, *, plugins: bool) -> None:
    """What would be a risk, or what weft does not do, is said at once."""
    refusals: tuple[tuple[object, Path, str], ...] = (
        (cluster.insecure_skip_tls_verify, path, "insecure-skip-tls-verify: weft checks whom it believes; give "
         "certificate-authority"),
        (cluster.proxy_url, path, "proxy-url: weft asks the API server itself"),
        (user.exec is not None and not plugins, of_user, "exec: weft serve runs no credential plugins; give a "
         "tokenFile that a program keeps fresh, or a client certificate"),
        (user.auth_provider is not None, of_user, "auth-provider: give a tokenFile or a client certificate"),
        (user.username, of_user, "username: Kubernetes takes no passwords; give a tokenFile or a client certificate"),
        (user.impersonate, of_user, "as: weft is only who it is; give it an account of its own"),
    )  # fmt: skip
    for there, place, text in refusals:
        if there:
            raise AccessError(f"{place}: {text}")


def _given(data: str, file: str, near: Path, what: str) -> Given:
    """Relative paths are from where the kubeconfig file is."""
    if data:
        return Given(from_base64(data, what))
    return Given(file=near / file) if file else Given()


def _check_open(path: Path, access: Access) -> None:
    """Files with a key or a token are not everybody's."""
    own = bool(access.key.data or access.token.data)
    for each in (path if own else None, access.key.file, access.token.file):
        if each is not None and each.stat().st_mode & _OTHERS_READ:
            raise AccessError(f"{each} is open to other users; run: chmod 600 '{each}'")
