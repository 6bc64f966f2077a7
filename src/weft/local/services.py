"""weft as services of systemd: the text of each unit, and which files make one of them run. Pure.

A package brings the same units; `weft enable` writes what a host has besides, or all of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["control-plane", "host", "gateway", "workload"]
KINDS: tuple[Kind, ...] = ("control-plane", "host", "gateway", "workload")
ALONE: tuple[Kind, ...] = ("control-plane", "host")
"""Kinds of which a host has one."""
WRITTEN = "# Written by weft enable; `weft disable` removes it. Changes of your own: systemctl edit.\n"
CREDENTIAL = "weft.token"
"""The join token's name in ``$CREDENTIALS_DIRECTORY`` (systemd.exec(5))."""
_STOP_SECONDS = 90
"""Longer than an ordered stop takes: 30 s for requests, then 10 s each for the application and for Envoy."""
_WORD = re.compile(r"[A-Za-z0-9_@+=:,./{}*\[\]?&~^-]+")
_INSTANCE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class ServiceError(ValueError):
    """What cannot be made a service, in words."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where a service's files are: below `root` for the system, or a user's own."""

    units: Path
    settings: Path


SYSTEM = Files(Path("/etc/systemd/system"), Path("/etc/weft"))
PACKAGED = Path("/usr/lib/systemd/system")


@dataclass(frozen=True, slots=True)
class Service:
    """One service: of which kind, and for gateways and workloads the `name` of the instance. `own`: of one user, whose
    systemd runs it."""

    kind: Kind
    name: str = ""
    own: bool = False

    def __post_init__(self) -> None:
        if bool(self.name) is (self.kind in ALONE):
            raise ServiceError(f"{self.kind}: expected {'no name' if self.name else 'a name'}")
        if self.name and not _INSTANCE.fullmatch(self.name):
            raise ServiceError(
                f"name '{self.name}': expected lower-case letters, digits and '-', at most 63 characters"
            )

    @property
    def unit_file(self) -> str:
        """The name of the file that has the unit."""
        return unit_file(self.kind)

    @property
    def unit(self) -> str:
        """What systemctl calls it."""
        return self.unit_file.replace("@", f"@{self.name}")

    @property
    def stem(self) -> str:
        """How the names of its settings begin."""
        return f"{self.kind}-{self.name}" if self.name else self.kind


def unit_file(kind: Kind) -> str:
    """The file of a kind's unit: a template where there are instances."""
    return f"weft-{kind}.service" if kind in ALONE else f"weft-{kind}@.service"


def options_text(words: tuple[str, ...]) -> str:
    """The file with a service's options. ServiceError for words that systemd would take apart."""
    for word in words:
        if not _WORD.fullmatch(word):
            raise ServiceError(
                f"option '{word}': spaces, quotes, '$', '%' and '\\' do not go into a service's options; "
                "say it in a drop-in (systemctl edit)"
            )
    return f'{WRITTEN}WEFT_OPTIONS="{" ".join(words)}"\n'


def token_drop_in(token: Path) -> str:
    """The drop-in that hands the join token over."""
    return f"{WRITTEN}[Service]\nLoadCredential={CREDENTIAL}:{token}\n"


def host_file(files: Files) -> Path:
    """What `weft host` reads as a service."""
    return files.settings / "host.yaml"


def unit_text(kind: Kind, weft: str, *, own: bool = False) -> str:
    """The unit of a kind, which runs the program `weft`."""
    return "\n".join((*_unit(kind), "", *_service(kind, weft, own=own), "", *_install(own=own))) + "\n"


_WHAT = {
    "control-plane": "control plane of the service mesh weft",
    "host": "workloads of this host behind one proxy of the service mesh weft",
    "gateway": "gateway %i of the service mesh weft",
    "workload": "proxy of workload %i in the service mesh weft",
}
_COMMAND = {
    "control-plane": "serve $WEFT_OPTIONS",
    "host": "host $WEFT_OPTIONS {settings}/host.yaml",
    "gateway": "gateway $WEFT_OPTIONS %i",
    "workload": "run --name %i $WEFT_OPTIONS",
}


def _unit(kind: Kind) -> tuple[str, ...]:
    after = "network-online.target" + ("" if kind == "control-plane" else " weft-control-plane.service")
    return (
        "[Unit]",
        f"Description={_WHAT[kind]}",
        "Wants=network-online.target",
        f"After={after}",
        "StartLimitIntervalSec=0",
    )


def _service(kind: Kind, weft: str, *, own: bool) -> tuple[str, ...]:
    instance = "" if kind == "control-plane" else f"-{kind}" if kind in ALONE else f"-{kind}/%i"
    settings = f"{'%E' if own else '/etc'}/weft"
    agent = kind != "control-plane"
    return (
        "[Service]",
        "Type=notify",
        *(() if own else (f"User={'weft-proxy' if agent else 'weft'}", "Slice=system.slice")),
        f"EnvironmentFile=-{settings}/{kind}{'' if kind in ALONE else '-%i'}.env",
        f"Environment=WEFT_HOME=%S/weft{instance} TMPDIR=%t/weft{instance}",
        f"StateDirectory=weft{instance}",
        "StateDirectoryMode=0700",
        f"RuntimeDirectory=weft{instance}",
        f"RuntimeDirectoryMode={'0700' if agent else '0755'}",
        "RuntimeDirectoryPreserve=restart",
        f"WorkingDirectory=%S/weft{instance}",
        f"ExecStart={weft} {_COMMAND[kind].format(settings=settings)}",
        *(_AGENT if agent else ()),
        *_ending(weft, agent=agent),
        "Restart=always",
        "RestartSec=2",
        "TimeoutStartSec=infinity",
        f"TimeoutStopSec={_STOP_SECONDS}",
        "WatchdogSec=60",
        "LimitNOFILE=65536",
        *_hardening(kind, own=own),
    )


_AGENT = (
    "# Replaces the agent alone; another Envoy takes over if another one is installed. No request is lost.",
    "ExecReload=/bin/kill -HUP $MAINPID",
    "# 128 + SIGTERM: it ended because it was asked to.",
    "SuccessExitStatus=143",
)


def _ending(weft: str, *, agent: bool) -> tuple[str, ...]:
    if not agent:
        return ()
    return (
        "# When the agent dies Envoy goes on, and the next agent takes it over. At a stop the agent ends Envoy,",
        "# and what it leaves if it has to be killed is ended here.",
        "KillMode=process",
        f"ExecStopPost=/bin/sh -c 'case $$SERVICE_RESULT in success|timeout) exec {weft} down;; esac'",
    )


def _hardening(kind: Kind, *, own: bool) -> tuple[str, ...]:
    """What neither weft nor Envoy needs. Not taken away: memory that is written and executed (Lua, Wasm), what tells
    users of this host apart (PrivateUsers) and in which unit their processes are (ProtectProc of the control plane),
    shared memory of other services of the user (RemoveIPC), and of a gateway ports below 1024."""
    anyone = (
        "UMask=0077",
        "NoNewPrivileges=yes",
        "LockPersonality=yes",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "SystemCallFilter=prlimit64 setrlimit sched_setaffinity",
        "SystemCallErrorNumber=EPERM",
    )
    if own:
        return anyone
    ports = "CAP_NET_BIND_SERVICE" if kind == "gateway" else ""
    return (
        *anyone,
        f"CapabilityBoundingSet={ports}",
        f"AmbientCapabilities={ports}",
        "DevicePolicy=closed",
        "PrivateDevices=yes",
        "PrivateTmp=yes",
        "ProtectClock=yes",
        "ProtectControlGroups=yes",
        "ProtectHome=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        *(() if kind == "control-plane" else ("ProtectProc=invisible",)),
        "ProtectSystem=strict",
        "KeyringMode=private",
    )


def _install(*, own: bool) -> tuple[str, ...]:
    return ("[Install]", f"WantedBy={'default' if own else 'multi-user'}.target")
