"""`weft dns`: what a workload's DNS responder answers, and which names it has."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft.cli.complete import complete_own
from weft.cli.failure import FailedError
from weft.cli.group import Group
from weft.cli.options import command, home_option, namespace_option, output_option
from weft.cli.output import print_table, print_value
from weft.cli.states import state_with
from weft.settings.home import Home

if TYPE_CHECKING:
    from dns.message import Message

    from weft.agent.state import State
    from weft.model.names import NameEntry

_TYPES = ("A", "AAAA", "SRV", "PTR", "CNAME", "TXT", "HTTPS", "ANY")
_SECONDS = 5.0
_workload_option = click.option(
    "--workload",
    required=True,
    metavar="NAME",
    shell_complete=complete_own,
    help="Whose responder: a workload of this host that is run with --dns.",
)


@click.group(cls=Group)
def dns() -> None:
    """Names: what a workload's applications may look up, and what they are told."""


@command(
    "lookup",
    "weft dns lookup reviews --workload productpage",
    "weft dns lookup reviews.default.svc.cluster.local --workload productpage --type AAAA -o json",
    "weft dns lookup 240.240.12.7 --workload productpage",
)
@click.argument("name")
@_workload_option
@home_option
@namespace_option
@click.option(
    "--type", "kind", type=click.Choice(_TYPES, case_sensitive=False), help="One type.  [default: A and AAAA]"
)
@click.option("--tcp", is_flag=True, help="Ask over TCP at once.")
@output_option
def lookup(*, name: str, workload: str, home: Home, namespace: str, kind: str | None, tcp: bool, output: str) -> int:
    """Ask the DNS responder of a workload, as its application would.

    NAME is asked for as it is, without search domains; an address is asked for its name. FROM says whether the mesh
    answered, or the resolver of the host. Exit code 1: there is no such name, or no such record.
    """
    state = state_with("--dns on", _answers, home, namespace, workload)
    reverse = _reverse(name)
    kinds = [kind.upper()] if kind else ["PTR"] if reverse else ["A", "AAAA"]
    answers = [_answer(_ask(state, reverse or name, one, tcp), one) for one in kinds]
    if output != "table":
        print_value(answers, output)
    else:
        _print(answers)
    return 0 if any(one["records"] for one in answers) else 1


@command("list", "weft dns list --workload productpage", "weft dns list --workload productpage -o json")
@_workload_option
@home_option
@namespace_option
@output_option
def list_(*, workload: str, home: Home, namespace: str, output: str) -> int:
    """List the names that a workload's responder answers. They are those of the services that it may call."""
    state = state_with("--dns on", _answers, home, namespace, workload)
    entries = _entries(home.workload(state.namespace, state.name))
    if output != "table":
        print_value([_entry(one) for one in entries], output)
        return 0
    rows = [(one.names[0], _told(one), " ".join(one.names[1:])) for one in entries]
    print_table(("NAME", "ADDRESSES", "ALSO"), rows, empty="no names", whole=("NAME", "ADDRESSES"))
    return 0


dns.add_command(lookup)
dns.add_command(list_)


def _answers(state: State) -> bool:
    return bool(state.dns and state.responder)


def _reverse(name: str) -> str:
    try:
        return ipaddress.ip_address(name).reverse_pointer
    except ValueError:
        return ""


def _ask(state: State, name: str, kind: str, tcp: bool) -> Message:
    from dns.exception import DNSException
    from dns.message import make_query
    from dns.query import tcp as over_tcp
    from dns.query import udp_with_fallback

    try:
        query = make_query(name, kind, use_edns=True)
        where: Any = {"where": "127.0.0.1", "port": state.dns, "timeout": _SECONDS}
        return over_tcp(query, **where) if tcp else udp_with_fallback(query, **where)[0]
    except (DNSException, OSError) as error:
        reason = str(error) or type(error).__name__
        raise FailedError(f"{name} {kind}: no answer at 127.0.0.1:{state.dns}: {reason}") from error


def _answer(message: Message, kind: str) -> dict[str, Any]:
    from dns.flags import AA
    from dns.rcode import to_text as rcode_text
    from dns.rdatatype import to_text

    return {
        "name": message.question[0].name.to_text(omit_final_dot=True),
        "type": kind,
        "status": rcode_text(message.rcode()),
        "from": "mesh" if message.flags & AA else "resolver",
        "records": [
            {
                "name": one.name.to_text(omit_final_dot=True),
                "ttl": one.ttl,
                "type": to_text(one.rdtype),
                "data": str(data),
            }
            for one in message.answer
            for data in one
        ],
    }


def _print(answers: Sequence[dict[str, Any]]) -> None:
    rows = []
    for one in answers:
        for record in one["records"]:
            rows.append((record["name"], record["type"], record["data"], record["ttl"], one["from"]))
        if not one["records"]:
            status = "no such record" if one["status"] == "NOERROR" else one["status"]
            rows.append((one["name"], one["type"], f"({status})", "", one["from"]))
    print_table(("NAME", "TYPE", "DATA", "TTL", "FROM"), rows, whole=("NAME", "DATA"))


def _entries(directory: Path) -> tuple[NameEntry, ...]:
    import msgspec

    from weft.agent.names import NAMES_FILE
    from weft.model.names import NamesAnswer

    try:
        answer = msgspec.json.decode((directory / NAMES_FILE).read_bytes(), type=NamesAnswer)
    except (OSError, msgspec.DecodeError):
        return ()
    return answer.table.entries if answer.table is not None else ()


def _told(entry: NameEntry) -> str:
    if entry.headless:
        return ",".join(address for one in entry.instances for address in one.addresses) or "(no instances)"
    return ",".join(entry.addresses) or f"(another name for {entry.alias})"


def _entry(entry: NameEntry) -> dict[str, Any]:
    return {
        "names": list(entry.names),
        "addresses": list(entry.addresses),
        "headless": entry.headless,
        "instances": [{"name": one.name, "addresses": list(one.addresses)} for one in entry.instances],
        "alias": entry.alias,
    }
