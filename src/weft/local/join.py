"""What to run on another host so that a workload or gateway joins: a command, or a systemd unit with its files."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_@+=:,./{}-]+")
_HOME = "/var/lib/weft"
_STOP_SECONDS = 90
"""Longer than an ordered stop takes: 30 s for requests, then 10 s each for the application and for Envoy."""


@dataclass(frozen=True, slots=True)
class Joining:
    """Who joins, in the words of `weft run`. Empty fields are left open. With `gateway` it is the proxy of the Gateway
    `name`, and its listeners bind `bind`. Of a WorkloadGroup, `group`, each instance is called as its host is."""

    namespace: str
    service_account: str
    name: str = ""
    labels: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    gateway: bool = False
    bind: str = ""
    group: str = ""

    @property
    def open_fields(self) -> tuple[str, ...]:
        """The words in capitals that a person has to fill in."""
        if self.gateway:
            return () if self.bind else ("IP",)
        if self.group:
            return () if self.command else ("COMMAND",)
        fields = (("NAME", self.name), ("KEY=VALUE", self.labels), ("PORT", self.ports), ("COMMAND", self.command))
        return tuple(word for word, value in fields if not value)


@dataclass(frozen=True, slots=True)
class Invitation:
    """How to reach and trust the control plane, and the token that admits one workload. `server` is ``HOST:PORT``."""

    server: str
    fingerprint: str
    token: str = field(repr=False)


def join_command(joining: Joining, invitation: Invitation) -> str:
    """Lines for a shell; the token goes by the environment, where `ps` does not show it."""
    trust, *rest = _lines(joining, invitation)
    words = [f"WEFT_TOKEN={invitation.token}", f"weft {trust}", *(f"  {line}" for line in rest)]
    return " \\\n".join(words)


def systemd_script(joining: Joining, invitation: Invitation) -> str:
    """A script for root's shell on the other host: it writes a unit and the file with the token, and starts the unit.

    ValueError when `joining` leaves a name or an address open. Without a command it is a sidecar alone.
    """
    missing = set(joining.open_fields) & {"NAME", "IP"}
    if missing:
        raise ValueError(f"a unit needs {' and '.join(sorted(missing))}")
    name = joining.name if joining.namespace == "default" else f"{joining.name}.{joining.namespace}"
    unit = f"weft-{name}.service"
    return _SCRIPT.format(
        unit=unit, name=name, home=_HOME, token=invitation.token, text=_unit(name, joining, invitation)
    )


def _lines(joining: Joining, invitation: Invitation) -> list[str]:
    """The arguments of weft, as groups of quoted words; open fields stand as they are."""
    where = [
        f"--control-plane {shlex.quote(invitation.server)}",
        f"--ca-fingerprint {shlex.quote(invitation.fingerprint)}",
        f"--namespace {shlex.quote(joining.namespace)} --service-account {shlex.quote(joining.service_account)}",
    ]
    if joining.gateway:
        return [f"gateway {where[0]}", *where[1:], f"--bind {joining.bind or 'IP'} {shlex.quote(joining.name)}"]
    said = ((), ()) if joining.group else (("KEY=VALUE",), ("PORT",))
    labels = "".join(f" --labels {shlex.quote(one)}" for one in joining.labels or said[0])
    ports = "".join(f" --port {shlex.quote(one)}" for one in joining.ports or said[1])
    name = '"$(hostname -s)"' if joining.group else "NAME"
    group = f"--group {shlex.quote(joining.group)} " if joining.group else ""
    own = f"{group}--name {shlex.quote(joining.name) if joining.name else name}{labels}{ports}"
    return [f"run {where[0]}", *where[1:], own, f"-- {shlex.join(joining.command) or 'COMMAND'}"]


def _arguments(joining: Joining, invitation: Invitation) -> list[str]:
    where = ["--control-plane", invitation.server, "--ca-fingerprint", invitation.fingerprint]
    where += ["--namespace", joining.namespace, "--service-account", joining.service_account]
    if joining.gateway:
        return ["gateway", *where, "--bind", joining.bind, joining.name]
    where += ["--group", joining.group] if joining.group else []
    given = (("--labels", joining.labels), ("--port", joining.ports))
    pairs = [word for option, values in given for value in values for word in (option, value)]
    return ["run", *where, "--name", joining.name, *pairs, *(("--", *joining.command) if joining.command else ())]


def _unit(name: str, joining: Joining, invitation: Invitation) -> str:
    words = " ".join(_unit_word(word) for word in _arguments(joining, invitation))
    what = "gateway" if joining.gateway else "workload"
    return _UNIT.format(what=what, name=name, home=_HOME, words=words, stop=_STOP_SECONDS)


def _unit_word(word: str) -> str:
    """One word of ExecStart: systemd has quotes, C escapes, ``%`` specifiers and ``$`` variables."""
    if _PLAIN_WORD.fullmatch(word):
        return word
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return '"' + text.replace("%", "%%").replace("$", "$$") + '"'


_UNIT = """\
[Unit]
Description=weft {what} {name}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
User=weft
StateDirectory=weft
StateDirectoryMode=0700
WorkingDirectory={home}
Environment=WEFT_HOME={home}
EnvironmentFile=/etc/weft/{name}.env
ExecStart=@WEFT@ {words}
# Restarts the agent alone: Envoy and the application go on.
ExecReload=/bin/kill -HUP $MAINPID
# 128 + SIGTERM: the application ended because it was asked to.
SuccessExitStatus=143
Restart=always
RestartSec=2
# At a stop the agent ends the application and Envoy in order. When the agent dies alone they go on, and the next agent
# takes them over.
KillMode=process
TimeoutStopSec={stop}
# What neither weft nor Envoy needs. Take out what your application does.
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=full
ProtectHome=read-only
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes

[Install]
WantedBy=multi-user.target"""

_SCRIPT = """\
# For root's shell on the other host. It holds a join token: pass it on as you would a password.
(
set -eu
cd /
weft=$(command -v weft) || {{ echo "there is no weft on the PATH" >&2; exit 1; }}
id -u weft >/dev/null 2>&1 || useradd --system --home-dir {home} --shell /usr/sbin/nologin weft
runuser -u weft -- "$weft" --version >/dev/null || {{
  echo "the user 'weft' cannot run $weft; install it where it can, such as below /opt" >&2; exit 1
}}
umask 077
mkdir -p /etc/weft
cat >/etc/weft/{name}.env <<'END'
WEFT_TOKEN={token}
END
sed "s|@WEFT@|$weft|" >/etc/systemd/system/{unit} <<'END'
{text}
END
chmod 644 /etc/systemd/system/{unit}
systemctl daemon-reload
systemctl enable {unit}
systemctl restart {unit}
)"""
