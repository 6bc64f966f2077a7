"""`weft ca`: the mesh's certificate authority: where it stands, rotation of its root, roots brought by others."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft.cli.failure import ExitCode, FailedError
from weft.cli.group import Group
from weft.cli.options import command, home_option, output_option
from weft.cli.output import print_table, print_value
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.local.client import AdminClient

_LOOK_SECONDS = 0.5
_SHOWN = 10
_JSON = {"content-type": "application/json"}


@click.group(cls=Group)
def ca() -> None:
    """The certificate authority: its state, and rotation of its root."""


def _overlap_option(command: Any) -> Any:
    return click.option(
        "--overlap",
        type=click.FloatRange(0, 30 * 86400),
        default=0.0,
        show_default=True,
        help="Seconds for which both roots are trusted at least, for hosts that sleep meanwhile.",
    )(command)


def _wait_options(command: Any) -> Any:
    wait = click.option("--wait", is_flag=True, help="Wait until it has ended, and say how it goes.")
    timeout = click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        default=600.0,
        show_default=True,
        help="With --wait: seconds after which this command ends with 1; the rotation goes on.",
    )
    return wait(timeout(command))


@command("status", "weft ca status", "weft ca status -o json")
@home_option
@output_option
def status(home: Home, output: str) -> int:
    """Show where a rotation stands, who is awaited, and when certificates end.

    Where no control plane runs, the files in the home are read, and nothing is changed.
    """
    from weft.local.client import AdminClient, UnreachableError
    from weft.local.remote import remote_from_environment

    try:
        found = AdminClient(home).get("ca")
    except UnreachableError:
        if remote_from_environment() is not None:
            raise
        from weft.local.authority import status_of_files

        with _told():
            found = status_of_files(home)
        click.echo(f"no control plane runs in {home.root}: this is what its files say", err=True)
    if output != "table":
        print_value(found, output)
        return 0
    _show(found)
    return 0


@command("rotate", "weft ca rotate --wait", "weft ca rotate --overlap 86400")
@home_option
@_overlap_option
@_wait_options
@output_option
def rotate(home: Home, overlap: float, wait: bool, timeout: float, output: str) -> int:
    """Make a new root, have it trusted everywhere, renew all certificates under it, and drop the old one.

    Each step begins when every live proxy has confirmed the one before. No request fails meanwhile.
    """
    from weft.local.client import AdminClient

    client = AdminClient(home)
    found = _post(client, "rotate", {"overlap": overlap})
    return _finish(client, found, wait, timeout, output)


@command("abort", "weft ca abort", "weft ca abort --wait")
@home_option
@_wait_options
@output_option
def abort(home: Home, wait: bool, timeout: float, output: str) -> int:
    """Take a rotation back. It can be until the old root is dropped."""
    from weft.local.client import AdminClient

    client = AdminClient(home)
    return _finish(client, _post(client, "abort", {}), wait, timeout, output)


@command("csr", "weft ca csr > intermediate.csr", "weft ca csr --cancel")
@home_option
@click.option("--trust-domain", default="cluster.local", help="Where no control plane runs yet: that of the mesh.")
@click.option("--cancel", is_flag=True, help="Forget the request and its key.")
def csr(home: Home, trust_domain: str, cancel: bool) -> int:
    """Print a request for an intermediate, to be signed by a root that is kept elsewhere.

    The key stays in the home. It works before the first start of the control plane, too.
    """
    from weft.local.client import AdminClient, UnreachableError

    client = AdminClient(home)
    try:
        if cancel:
            client.call("DELETE", "ca/csr", {})
        else:
            click.echo(client.call("POST", "ca/csr", {})["csr"], nl=False)
    except UnreachableError:
        from weft.local.authority import cancel_request, print_request

        with _told():
            text = cancel_request(home) if cancel else print_request(home, trust_domain)
        click.echo(text, nl=False)
    return 0


@command(
    "install",
    "weft ca install chain.pem --root root.pem",
    "weft ca install issuer.pem --key issuer.key --root root.pem --wait",
)
@home_option
@click.argument("chain", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="CHAIN.pem")
@click.option(
    "--key", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Its key, if it is not weft's."
)
@click.option("--root", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The root it leads to.")
@click.option("--trust-domain", default="cluster.local", help="Where no control plane runs yet: that of the mesh.")
@_overlap_option
@_wait_options
@output_option
def install(
    *,
    home: Home,
    chain: Path,
    key: Path | None,
    root: Path | None,
    trust_domain: str,
    overlap: float,
    wait: bool,
    timeout: float,
    output: str,
) -> int:
    """Put an intermediate in force that another authority has signed.

    CHAIN.pem has the certificate first, then those above it. Under another root than the present one, the mesh is
    rotated to it as by `weft ca rotate`. With --key, certificate and key are those of your own authority; the key file
    may be readable by its owner only.
    """
    from weft.local.authority import install_files, read_files
    from weft.local.client import AdminClient, UnreachableError

    with _told():
        body = read_files(chain, root, key) | {"overlap": overlap}
    client = AdminClient(home)
    try:
        found = _post(client, "install", body)
    except UnreachableError:
        with _told():
            click.echo(install_files(home, body, trust_domain))
        return 0
    return _finish(client, found, wait, timeout, output)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What is wrong with files of an authority ends the command with its message."""
    from weft.ca.protocol import AuthorityError
    from weft.controlplane.settings import ServeError

    try:
        yield
    except (AuthorityError, ServeError) as error:
        raise FailedError(str(error)) from error


def _post(client: AdminClient, what: str, body: dict[str, object]) -> dict[str, Any]:
    found: dict[str, Any] = client.call("POST", f"ca/{what}", {}, body=json.dumps(body).encode(), headers=_JSON)
    return found


def _finish(client: AdminClient, found: dict[str, Any], wait: bool, timeout: float, output: str) -> int:
    """Wait for the end, telling each step on standard error, and show where it stands."""
    code = 0
    if wait:
        found, code = _follow(client, found, timeout)
    if output != "table":
        print_value(found, output)
    else:
        _show(found)
    return code


def _follow(client: AdminClient, found: dict[str, Any], timeout: float) -> tuple[dict[str, Any], int]:
    import time

    from weft.local.client import UnreachableError

    deadline, said = time.monotonic() + timeout, ""
    while True:
        line = _line(found)
        if line != said:
            click.echo(line, err=True)
            said = line
        if found["phase"] == "steady":
            return found, 0
        if time.monotonic() >= deadline:
            click.echo("it goes on; see weft ca status", err=True)
            return found, ExitCode.FAILED
        time.sleep(_LOOK_SECONDS)
        try:
            found = client.get("ca")
        except UnreachableError as error:  # it is being restarted; it goes on where it was
            line = f"the control plane is away: {error}"
            if line != said:
                click.echo(line, err=True)
                said = line


def _line(found: dict[str, Any]) -> str:
    awaited = [one["workload"] for one in found["awaited"]]
    more = f" and {len(awaited) - 3} more" if len(awaited) > 3 else ""
    whom = f": waiting for {', '.join(awaited[:3])}{more}" if awaited else ""
    back = " (taken back)" if found["returning"] else ""
    return f"{_PHASES[found['phase']]}{back}{whom}"


_PHASES = {
    "steady": "steady: one root signs and is trusted",
    "trusting": "trusting: the new root is handed out beside the old one",
    "issuing": "issuing: certificates are renewed under the new root",
    "dropping": "dropping: the old root is taken out of the trust bundles",
}


def _show(found: dict[str, Any]) -> None:
    click.echo(_PHASES[found["phase"]] + (" (taken back)" if found["returning"] else ""))
    if found["since"]:
        click.echo(f"since {found['since']}")
    if found["both_trusted_until"]:
        click.echo(f"both roots are trusted until {found['both_trusted_until']} at least")
    if found["awaited"]:
        click.echo(f"awaited, until {found['waits_no_longer_than']} at the longest:")
        for one in found["awaited"][:_SHOWN]:
            click.echo(f"  {one['workload']}: {one['reason']}")
        if len(found["awaited"]) > _SHOWN:
            click.echo(f"  and {len(found['awaited']) - _SHOWN} more (-o json has all)")
    rows = [
        (
            f"root {one['generation']}",
            one["subject"],
            one["not_after"],
            ", ".join(word for word, holds in (("signs", one["signs"]), ("trusted", one["trusted"])) if holds) or "-",
            one["fingerprint"],
        )
        for one in found["roots"]
    ]
    if own := found["intermediate"]:
        rows.append(("intermediate", own["subject"], own["not_after"], "signs", own["fingerprint"]))
    if ends := found["control_plane"]["not_after"]:
        rows.append(("control plane", "", ends, "", ""))
    print_table(("CERTIFICATE", "SUBJECT", "ENDS", "NOW", "FINGERPRINT"), rows)


for _one in (status, rotate, abort, csr, install):
    ca.add_command(_one)
