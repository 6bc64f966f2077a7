"""The manual page weft(1), from the commands themselves."""

from __future__ import annotations

import time

from weft.cli.main import COMMANDS


def manual(version: str, epoch: int) -> str:
    """The page in roff, as of `epoch`."""
    date = time.strftime("%Y-%m-%d", time.gmtime(epoch))
    lines = [
        f'.TH WEFT 1 "{date}" "weft {version}"',
        ".SH NAME",
        r"weft \- a service mesh that programs Envoy proxies",
        ".SH SYNOPSIS",
        r".B weft",
        r"\fICOMMAND\fR [\fIOPTIONS\fR]",
        ".SH DESCRIPTION",
        r"A control plane that programs Envoy over xDS, and agents that run Envoy beside applications.",
        r"Each command has its own help: \fBweft\fR \fICOMMAND\fR \fB\-\-help\fR.",
        ".SH COMMANDS",
    ]
    for name, (_, text) in COMMANDS.items():
        lines += [".TP", rf".B {_escaped(name)}", _escaped(text)]
    lines += [
        ".SH FILES",
        ".TP",
        ".I /etc/weft",
        "Options of the services.",
        ".TP",
        ".I /var/lib/weft",
        "State of the control plane.",
        ".TP",
        ".I /var/lib/weft-host, /var/lib/weft-gateway, /var/lib/weft-workload",
        "State of gateways and proxies.",
        ".SH SEE ALSO",
        ".BR systemctl (1)",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain
