"""The entry point `weft`: which commands there are, and how errors become messages and exit codes."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from weft import __version__
from weft.cli.cluster_options import cluster_options
from weft.cli.failure import EXIT_CODES, ExitCode, FailedError
from weft.cli.group import Group
from weft.cli.remote_options import remote_options

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("up", "Start the demo application as a mesh and say what to try."),
    "up": ("up", "Start a whole mesh from weft.yaml, or follow a change of it."),
    "ps": ("ps", "Show the processes of the mesh on this machine."),
    "logs": ("logs", "Show what the processes of the mesh say."),
    "restart": ("orders", "Restart processes of the mesh."),
    "stop": ("orders", "Stop processes of the mesh."),
    "down": ("orders", "Stop the mesh."),
    "clean": ("clean", "Remove what finished runs have left."),
    "serve": ("serve", "Run the control plane."),
    "run": ("run", "Run an application with its sidecar."),
    "compose": ("compose", "Run a Docker Compose project as a mesh."),
    "host": ("host", "Run applications of this host behind one shared proxy."),
    "gateway": ("run", "Run the proxy of a Gateway."),
    "inject": ("inject", "Put sidecars into pods: into all kinds of workloads of manifests."),
    "uninject": ("inject", "Take sidecars out of manifests again."),
    "pod": ("pod", "Run in the containers of a pod: lead its connections into a proxy, and be that proxy."),
    "cni": ("cni", "Be the agent of a node: capture the connections of pods, as the CNI plugin of weft asks for it."),
    "enable": ("services", "Run weft as a service of systemd."),
    "disable": ("services", "End a service of systemd that `weft enable` has made."),
    "apply": ("apply", "Create or change documents."),
    "delete": ("delete", "Delete documents."),
    "get": ("get", "Show documents, workloads or services."),
    "describe": ("describe", "Show one document with its conditions and problems."),
    "validate": ("validate", "Check documents, alone or with a running mesh."),
    "migrate": (
        "migrate",
        "Say what becomes of another mesh's installation: what carries over, what differs, what is missing.",
    ),
    "stat": ("stat", "Show how often, how well and how fast services are called."),
    "edges": ("stat", "Show who calls whom, and whether both have proven who they are."),
    "top": ("top", "Show traffic as it goes, on the whole terminal."),
    "graph": ("graph", "Draw who calls whom."),
    "proxy": ("proxy", "See what proxies know and have confirmed; restart one without a gap."),
    "capture": (
        "capture",
        "Capture: lead connections of chosen users, and of callers, into a workload's proxy, by rules of the system.",
    ),
    "dns": ("dns", "Names: what a workload's applications may look up, and what they are told."),
    "explain": ("explain", "Say why a request is answered as it is."),
    "authz": ("authz", "Say who may call whom, and by which policy."),
    "requests": ("requests", "List the latest requests that failed or were slow."),
    "tap": ("requests", "Watch the requests of a workload as they happen."),
    "dashboard": ("dashboard", "Open the control plane's web page."),
    "problems": ("problems", "List what is wrong in the configuration."),
    "audit": ("audit", "Show who did what, and what was refused."),
    "history": ("history", "Show which changes were made, by whom, and what came of them."),
    "diff": ("diff", "Show what differs between two revisions."),
    "undo": ("undo", "Apply the documents as they were before a revision."),
    "check": ("check", "Say whether everything is well, and how to mend what is not."),
    "install": ("install", "Install weft in a cluster."),
    "upgrade": ("install", "Bring weft in a cluster to this version, or to other settings."),
    "uninstall": ("uninstall", "Take weft out of a cluster."),
    "analyze": ("analyze", "Find documents that are in force and do what nobody wants."),
    "explain-code": ("analyze", "Say what a code means, and how to mend it."),
    "report": ("report", "Make a support bundle, without secrets."),
    "token": ("token", "Tokens: for workloads on other hosts to join, for people and programs to call."),
    "identity": ("identity", "Identities: who has certificates, and whom the mesh refuses."),
    "secrets": ("secrets", "How the store keeps secrets: sealed, and with which key."),
    "ca": ("ca", "The certificate authority: its state, and rotation of its root."),
    "federation": ("federation", "Trust between this mesh and others."),
    "version": ("version", "Print versions."),
    "completion": ("completion", "Print the completion script of a shell."),
}
"""Name -> (module in weft.cli, one line of help). The help of each command begins with that line; a test compares."""


class Commands(Group):
    """Imports a command's module when the command is used, so that `weft --help` is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Every command, in the order a new user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command `cmd_name`, or None."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        found: Any = getattr(importlib.import_module(f"weft.cli.{entry[0]}"), cmd_name.replace("-", "_"))
        return found if isinstance(found, click.Command) else None

    def first_examples(self) -> tuple[str, ...]:
        """None but those of its epilog: others would be imported for it."""
        return ()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _verbose(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001
    """``-v``: for this command, and for what it starts."""
    if value:
        os.environ["WEFT_VERBOSE"] = "1"


@click.group(
    cls=Commands,
    epilog=EXIT_CODES + "\n\n\b\nExamples:\n  weft demo\n  weft apply -f routes.yaml --wait\n  weft proxy status",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@remote_options
@cluster_options
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_verbose,
    help="Say which control plane is asked.  [env: WEFT_VERBOSE]",
)
@click.version_option(__version__, message="weft %(version)s")
def weft() -> None:
    """A service mesh on Envoy: run workloads with sidecars, route between them, see what happens."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `weft` and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run `weft` with `arguments` (default: those of the process); the exit code."""
    try:
        result = weft.main(args=None if arguments is None else list(arguments), prog_name="weft", standalone_mode=False)
        sys.stdout.flush()
    except FailedError as error:
        if str(error):
            _complain(str(error))
        return error.code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except Exception as error:
        return _from_exception(error)
    return result if isinstance(result, int) else ExitCode.OK


def _from_exception(error: Exception) -> int:
    from weft.local.client import RefusedError, UnreachableError
    from weft.local.cluster import ClusterError
    from weft.local.remote import RemoteError
    from weft.settings.private import PermissionsError

    if isinstance(error, UnreachableError):
        _complain(str(error))
        return ExitCode.UNREACHABLE
    if isinstance(error, RefusedError):
        from weft.cli.output import print_problems

        print_problems(error.problems)
        _complain(str(error))
        return ExitCode.FAILED
    if isinstance(error, PermissionsError | RemoteError | ClusterError):
        _complain(str(error))
        return ExitCode.FAILED
    if isinstance(error, OSError) and error.filename and error.strerror:
        _complain(f"{error.filename}: {error.strerror}")
        return ExitCode.FAILED
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EDQUOT):
        _complain(f"cannot write: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left would fail again at the end
        return ExitCode.FAILED
    raise error


def _complain(text: str) -> None:
    click.echo(f"{click.style('error', fg='red', bold=True) if _colour() else 'error'}: {text}", err=True)


def _colour() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


if __name__ == "__main__":
    main()
