"""Credential plugins of kubeconfig files: a program of the user's that says who they are.

https://kubernetes.io/docs/reference/config-api/client-authentication.v1/
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from weft.model.printable import printable
from weft.sources.kubernetes.access import AccessError

PATIENCE = 300.0
"""Seconds: some ask the user, who looks for a telephone."""
_GROUP = "client.authentication.k8s.io"
_VERSIONS = (f"{_GROUP}/v1", f"{_GROUP}/v1beta1")
_LONGEST = 1024 * 1024


class _Variable(msgspec.Struct):
    name: str
    value: str = ""


class Plugin(msgspec.Struct, rename="camel"):
    """``exec`` of a user."""

    command: str = ""
    args: tuple[str, ...] | None = None
    env: tuple[_Variable, ...] | None = None
    api_version: str = ""
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = "IfAvailable"


class _Status(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: str | None = None


class _Credential(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    status: _Status | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What a plugin has said: a token, or a certificate and its key (PEM), good `until` (epoch seconds, 0: it did not
    say)."""

    token: str = field(default="", repr=False)
    certificate: str = ""
    key: str = field(default="", repr=False)
    until: float = 0.0


def run_plugin(plugin: Plugin, near: Path, cluster: dict[str, Any], *, asks: bool | None = None) -> Shown:
    """What the plugin of a file in the directory `near` says of the user; `cluster` is told to it if it wants to know.
    Whether it `asks` the user goes by the terminal unless it is given. Blocks. AccessError."""
    if plugin.api_version not in _VERSIONS:
        raise AccessError(f"exec: apiVersion '{plugin.api_version}': expected {' or '.join(_VERSIONS)}")
    terminal = sys.stdin.isatty() if asks is None else asks
    if plugin.interactive_mode == "Always" and not terminal:
        raise AccessError(f"exec: {plugin.command} asks the user (interactiveMode: Always), and there is no terminal")
    interactive = terminal and plugin.interactive_mode != "Never"
    spec = {"interactive": interactive, **({"cluster": cluster} if plugin.provide_cluster_info else {})}
    told = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    environment = {**os.environ, **{each.name: each.value for each in plugin.env or ()}}
    environment["KUBERNETES_EXEC_INFO"] = msgspec.json.encode(told).decode()
    command = str(near / plugin.command) if "/" in plugin.command else plugin.command
    try:
        done = subprocess.run(
            [command, *(plugin.args or ())],
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
            env=environment,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        raise AccessError(f"exec: {plugin.command} has said nothing within {PATIENCE:g} s") from error
    except OSError as error:
        hint = f"; {printable(plugin.install_hint.strip(), 500)}" if plugin.install_hint else ""
        raise AccessError(f"exec: {plugin.command} cannot be run: {error.strerror}{hint}") from error
    if done.returncode != 0:
        raise AccessError(f"exec: {plugin.command} failed (exit code {done.returncode}); what it says is above")
    return _shown(plugin, done.stdout)


def _shown(plugin: Plugin, said: bytes) -> Shown:
    try:
        found = msgspec.json.decode(said[:_LONGEST], type=_Credential)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AccessError(f"exec: {plugin.command} prints no ExecCredential") from error
    if found.kind != "ExecCredential" or found.api_version != plugin.api_version:
        raise AccessError(
            f"exec: {plugin.command} prints {printable(f'{found.kind} of {found.api_version}', 100)}; expected "
            f"ExecCredential of {plugin.api_version}"
        )
    status = found.status or _Status()
    if not status.token and not status.client_certificate_data:
        raise AccessError(f"exec: {plugin.command} gives neither a token nor a certificate")
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        raise AccessError(f"exec: {plugin.command} gives a certificate or its key, and not both")
    return Shown(status.token, status.client_certificate_data, status.client_key_data, _until(plugin, status))


def _until(plugin: Plugin, status: _Status) -> float:
    if not status.expiration_timestamp:
        return 0.0
    try:
        return datetime.fromisoformat(status.expiration_timestamp).timestamp()
    except ValueError as error:
        raise AccessError(f"exec: {plugin.command}: expirationTimestamp is no time of RFC 3339") from error
