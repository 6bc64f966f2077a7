"""`weft problems`."""

from __future__ import annotations

import click

from weft.cli.options import command, home_option, output_option
from weft.cli.output import print_problems, print_value
from weft.settings.home import Home


@command("problems", "weft problems", "weft problems -o json")
@home_option
@output_option
def problems(home: Home, output: str) -> int:
    """List what is wrong in the configuration.

    Documents that are not in force and why, configuration that a proxy refused, identities that were turned away. What
    only waits for a workload (a Service that selects none, a Gateway that no process serves) is listed after 30 s.
    Exit code 1 when there is an error among them.
    """
    from weft.local.client import AdminClient

    found = AdminClient(home).get("problems")["problems"]
    if output != "table":
        print_value(found, output)
    else:
        print_problems(found)
        if not found:
            click.echo("no problems", err=True)
    return 1 if any(problem.get("severity") == "error" for problem in found) else 0
