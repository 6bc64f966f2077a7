"""`weft report`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from weft.cli.failure import FailedError
from weft.cli.options import command, home_option, output_option
from weft.cli.output import print_table, print_value
from weft.settings.home import Home


@command("report", "weft report", "weft report --file weft-report.tar.gz", "weft report --application-logs -o json")
@home_option
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where it is written; it must not be there yet.  [default: weft-report-TIME.tar.gz here]",
)
@click.option(
    "--application-logs", is_flag=True, help="Also the logs of workloads, which hold what applications print."
)
@output_option
def report(home: Home, file: Path | None, application_logs: bool, output: str) -> int:
    """Make a support bundle, without secrets.

    A tar.gz that only you can read: versions, findings, problems, history, documents, what proxies were given, their
    statistics, the last lines of logs, and facts about this machine. Values of Secrets, keys and tokens are not in it;
    what looks like one is taken out of logs. Look at it before you pass it on: host names and addresses are in it. It
    works without a control plane, with what is on this machine.
    """
    from weft.local.report import gather, write_bundle

    path = file or Path(time.strftime("weft-report-%Y%m%d-%H%M%S.tar.gz"))
    bundle = gather(home, application_logs=application_logs)
    try:
        size = write_bundle(bundle, path)
    except FileExistsError as error:
        raise FailedError(f"{path} is there already; name another with --file") from error
    contents = [{"name": name, "bytes": len(data)} for name, data in bundle.parts.items()]
    if output != "table":
        found = {"file": str(path), "bytes": size, "contents": contents, "left_out": bundle.left_out}
        print_value(found, output)
        return 0
    print_table(("PART", "BYTES"), [(one["name"], f"{one['bytes']:,}") for one in contents], whole=("PART",))
    for text in bundle.left_out:
        click.echo(f"not in it: {text}", err=True)
    click.echo(f"\nwrote {path} ({size:,} bytes)")
    return 0
