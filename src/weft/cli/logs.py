"""`weft logs`."""

from __future__ import annotations

import difflib

import click

from weft.cli.complete import complete_log
from weft.cli.failure import FailedError
from weft.cli.options import command, home_option
from weft.settings.home import Home


@command(
    "logs",
    "weft logs -f",
    "weft logs reviews-v1",
    "weft logs -f --proxy reviews-v1",
    "weft logs -f --access reviews-v1",
    "weft logs control-plane",
    "weft --context prod logs -f --proxy reviews-v1-7d9c.shop",
)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_log)
@home_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option("--proxy", is_flag=True, help="Also what the proxy (Envoy) and the DNS responder of each say.")
@click.option("--access", is_flag=True, help="Only the access logs of each proxy: see docs/access-logs.md.")
@click.option(
    "--tail", type=click.IntRange(0, 10000), default=50, show_default=True, help="Lines of each to begin with."
)
def logs(names: tuple[str, ...], home: Home, follow: bool, proxy: bool, access: bool, tail: int) -> int:
    """Show what the processes of the mesh say.

    NAME is a workload or gateway of weft.yaml, or `control-plane`; all of them without one. A workload's log holds what
    its application writes and what its agent says. A workload of another namespace is NAME.NAMESPACE. In a cluster
    (weft --context) NAME is a pod; without one it is the control plane. Its API server gives them, to who may get
    pods/log.
    """
    from weft.local.cluster import named_cluster
    from weft.local.logs import LONGEST_ACCESS_LINE, follow_logs, log_files, log_names, print_ends
    from weft.model.printable import printable

    cluster = named_cluster()
    if cluster is not None:
        from weft.cli.cluster_logs import print_cluster_logs

        if access:
            raise click.UsageError("--access: in a cluster access logs are what weft-proxy says: --proxy")
        return print_cluster_logs(cluster, names, follow=follow, proxy=proxy, tail=tail)
    known = log_names(home)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known) or 'none'}"
            raise FailedError(f"there is no log of '{name}' in {home.root}; {hint}")
    files = log_files(home, names, proxy=proxy, access=access)
    if not files and not follow:
        if access:
            raise FailedError("there are no access logs; a Telemetry or MeshConfig asks for them (docs/access-logs.md)")
        hint = "; what a `weft run` by hand says is in its terminal, --proxy shows its proxy" if names else ""
        raise FailedError(f"there are no logs in {home.root}{hint}")
    many = len(files) != 1 or not names

    def say(name: str, line: str) -> None:
        line = printable(line, LONGEST_ACCESS_LINE) if access else line
        width = max((len(one) for one in files), default=0)
        click.echo(f"{name.ljust(width)} | {line}" if many else line)

    follows = print_ends(files, tail, say, LONGEST_ACCESS_LINE) if access else print_ends(files, tail, say)
    if follow:
        follow_logs(lambda: log_files(home, names, proxy=proxy, access=access), follows, say)
    return 0
