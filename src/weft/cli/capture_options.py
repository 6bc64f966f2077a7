"""The options of `weft capture install`, and the rules that they mean for a workload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from weft.cli.options import CommandT, PortNumber, network

if TYPE_CHECKING:
    from weft.agent.capture.rules import CaptureRules, InboundRules
    from weft.agent.state import State

_SSH = 22
"""Never captured unless the workload serves there: who has led it into a proxy cannot come in to mend that."""
_SELECTING = {"user": "users", "cgroup": "cgroups", "exclude-user": "others"}
_Port = PortNumber()


def rules_options(function: CommandT) -> CommandT:
    """By which program, whose connections, and which are left alone."""
    return _outbound_options(_inbound_options(function))


def _inbound_options(function: CommandT) -> CommandT:
    for option in (
        click.option(
            "--with",
            "firewall",
            type=click.Choice(["nft", "iptables"]),
            default=None,
            help="The program of the rules.  [default: nft, and iptables where only that is]",
        ),
        click.option(
            "--guard",
            is_flag=True,
            help="Over loopback, only root, the proxy and the users of --user reach the workload's ports.",
        ),
        click.option(
            "--exclude-source",
            "sources",
            multiple=True,
            metavar="IP[/BITS]",
            help="Left alone: callers who come from it.",
        ),
        click.option(
            "--exclude-inbound-port",
            "inbound_ports",
            multiple=True,
            type=_Port,
            help="Left alone with --inbound all: callers of it. 22 is, unless the workload serves it.",
        ),
        click.option(
            "--inbound",
            type=click.Choice(["own", "all", "off"]),
            default=None,
            help="Lead callers to the proxy: those of the workload's own ports, or all who come from other hosts.  "
            "[default: own, if it is run with --inbound-capture]",
        ),
    ):
        function = option(function)
    return function


def _outbound_options(function: CommandT) -> CommandT:
    for option in (
        click.option(
            "--exclude-interface",
            "interfaces",
            multiple=True,
            metavar="NAME",
            help="Left alone: what leaves or comes by it.",
        ),
        click.option(
            "--exclude-address", "addresses", multiple=True, metavar="IP[/BITS]", help="Left alone: connections to it."
        ),
        click.option("--exclude-port", "ports", multiple=True, type=_Port, help="Left alone: connections to it."),
        click.option(
            "--dns/--no-dns",
            default=None,
            help="Lead DNS (UDP and TCP, port 53) to the workload's responder.  [default: if it has one]",
        ),
        click.option(
            "--exclude-user",
            "others",
            multiple=True,
            metavar="NAME|UID",
            help="Whose connections: programs of all users but this one and the proxy's.",
        ),
        click.option(
            "--cgroup",
            "cgroups",
            multiple=True,
            metavar="PATH",
            help="Whose connections: programs in this cgroup (v2), such as system.slice/shop.service.",
        ),
        click.option(
            "--user",
            "users",
            multiple=True,
            metavar="NAME|UID",
            help="Whose connections: programs of this user; may be given again.",
        ),
    ):
        function = option(function)
    return function


def rules_of(state: State, given: dict[str, Any]) -> CaptureRules:
    """The rules that options mean. AgentError or UsageError if they mean none."""
    from weft.agent.capture.rules import CaptureRules
    from weft.agent.capture.selection import cgroup_path, proxy_user, user_id

    if given["others"] and (given["users"] or given["cgroups"]):
        raise click.UsageError("--exclude-user: all others are captured; leave --user and --cgroup out")
    selecting = bool(given["users"] or given["cgroups"] or given["others"])
    users = tuple(sorted({user_id(each) for each in given["users"]}))
    inbound = _inbound(state, given, users)
    if not selecting and inbound is None:
        raise click.UsageError("whose connections? give --user, --cgroup or --exclude-user")
    if selecting and not state.capture:
        option = next(f"--{name}" for name, key in _SELECTING.items() if given[key])
        raise click.UsageError(f"{option}: {state.name} takes no connections of its host; run it with --capture on")
    if given["dns"] and not state.dns:
        raise click.UsageError(f"--dns: {state.name} has no responder; run it with --dns on")
    return CaptureRules(
        state.namespace,
        state.name,
        state.capture,
        dns=state.dns if given["dns"] is not False else 0,
        users=users,
        cgroups=tuple(dict.fromkeys(cgroup_path(each) for each in given["cgroups"])),
        others=tuple(sorted({proxy_user(state), *map(user_id, given["others"])})) if given["others"] else None,
        ports=tuple(sorted(set(given["ports"]))),
        interfaces=tuple(dict.fromkeys(_interface(each) for each in given["interfaces"])),
        addresses=tuple(dict.fromkeys(network("--exclude-address", each) for each in given["addresses"])),
        inbound=inbound,
    )


def _inbound(state: State, given: dict[str, Any], users: tuple[int, ...]) -> InboundRules | None:
    from weft.agent.capture.rules import InboundRules
    from weft.agent.capture.selection import proxy_user

    kind = given["inbound"] or ("own" if state.inbound_capture and state.ports else "off")
    if kind == "off":
        for option, values in (("--guard", given["guard"]), ("--exclude-source", given["sources"])):
            if values:
                raise click.UsageError(
                    f"{option}: callers are not captured; run the workload with --inbound-capture on"
                )
        return None
    if not state.inbound_capture:
        raise click.UsageError(
            f"--inbound: {state.name} does not take its callers so; run it with --inbound-capture on"
        )
    if not state.ports:
        raise click.UsageError(f"--inbound: {state.name} serves no port; run it with --port")
    if given["inbound_ports"] and kind != "all":
        raise click.UsageError("--exclude-inbound-port: only the workload's own ports are captured; give --inbound all")
    ports = tuple(sorted({port.inbound.port for port in state.ports}))
    metrics = [state.metrics.port] if state.metrics is not None else []
    left = {_SSH, *metrics, *given["inbound_ports"]} - set(ports) if kind == "all" else set()
    return InboundRules(
        state.inbound_capture,
        ports,
        everything=kind == "all",
        left=tuple(sorted(left)),
        sources=tuple(dict.fromkeys(network("--exclude-source", each) for each in given["sources"])),
        guard=tuple(sorted({0, proxy_user(state), *users})) if given["guard"] else None,
        transparent=state.transparent,
    )


def _interface(text: str) -> str:
    import difflib
    import socket

    known = [name for _, name in socket.if_nameindex()]
    if text in known:
        return text
    near = difflib.get_close_matches(text, known, 1)
    hint = f"do you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise click.UsageError(f"--exclude-interface: this host has no interface '{text}'; {hint}")
