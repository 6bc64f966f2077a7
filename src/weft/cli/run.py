"""`weft run` and `weft gateway`: an application with its sidecar, and the proxy of a Gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from weft.cli.options import CommandT, command, home_option, namespace_option
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.agent.parameters import ControlPlane

ValueT = TypeVar("ValueT")


def _control_plane_options(function: CommandT) -> CommandT:
    for option in (
        click.option("--quiet", is_flag=True, help="Print only warnings and errors of the agent."),
        click.option("--ca-fingerprint", default="", help="sha256:HEX of the CA, as `weft token create` prints it."),
        click.option(
            "--token",
            envvar="WEFT_TOKEN",
            default="",
            help="One-time join token, for the first start. Prefer the variable: `ps` shows options to other users.  "
            "[env: WEFT_TOKEN]",
        ),
        click.option(
            "--control-plane",
            metavar="HOST:PORT",
            default="",
            help="Agent API of a control plane on another host.  [default: the one of --home]",
        ),
    ):
        function = option(function)
    return function


def _parsed(parse: Callable[..., ValueT], *arguments: object) -> ValueT:
    from weft.local.option_syntax import OptionValueError

    try:
        return parse(*arguments)
    except OptionValueError as error:
        raise click.UsageError(str(error)) from error


def _control_plane(home: Home, server: str, token: str, fingerprint: str) -> ControlPlane:
    from weft.agent.parameters import ControlPlane
    from weft.local.command_line import command_line

    if (token or fingerprint) and not server:
        raise click.UsageError("--token and --ca-fingerprint go with --control-plane HOST:PORT")
    if server and not fingerprint:
        raise click.UsageError("--control-plane needs --ca-fingerprint, which `weft token create` prints")
    return ControlPlane(server, fingerprint, token, "" if server else command_line("serve", "--home", str(home.root)))


@command(
    "run",
    "weft run --name reviews-v2 --labels app=reviews,version=v2 --service-account reviews \\",
    "         --port 9080 --health http:/health -- python reviews.py",
    "weft run --name shop --port 8080:auto --upstream postgres:5432=15432 -- ./shop",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@home_option
@click.option("--name", required=True, help="Name of this instance, unique in its namespace.")
@namespace_option
@click.option(
    "--labels",
    multiple=True,
    metavar="KEY=VALUE[,...]",
    help="Labels of the workload; Services select workloads by them.",
)
@click.option(
    "--service-account", default="default", show_default=True, help="Service account: the identity in its certificate."
)
@click.option(
    "--port",
    "ports",
    multiple=True,
    metavar="[NAME=]PORT[:auto|:PORT]",
    help="A port of the application. By itself: it listens on that port of 127.0.0.1. With :auto: on a free port, "
    "which is in its variable PORT. With :PORT: on that other port. NAME is for a Service's targetPort.",
)
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    metavar="SERVICE:PORT[=LOCAL]",
    help="Open a port on 127.0.0.1 that leads to a service, for any TCP protocol.",
)
@click.option(
    "--uses",
    multiple=True,
    metavar="HOST",
    help="A service it calls; may be given again. Its proxy then knows only these services.",
)
@click.option(
    "--scope",
    type=click.Choice(["demand", "all"]),
    default="demand",
    show_default=True,
    help="Without --uses: load a service into the proxy when it is first called, or load all of them at once.",
)
@click.option(
    "--health",
    metavar="tcp|none|http:/PATH",
    help="Health check: connect to its ports, none, or GET this path.  [default: tcp; none without --port]",
)
@click.option(
    "--health-interval",
    type=click.FloatRange(0.1, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between checks.",
)
@click.option(
    "--health-timeout", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True, help="Seconds for one check."
)
@click.option(
    "--drain",
    type=click.FloatRange(0, 3600),
    default=30.0,
    show_default=True,
    help="Seconds for requests under way to finish at a stop.",
)
@click.option(
    "--inbound-address",
    default="",
    metavar="IP",
    help="IP address of this host at which callers reach the workload.  [default: 127.0.0.1; with --control-plane, "
    "this host's address on the way there]",
)
@_control_plane_options
@click.argument("application", nargs=-1, metavar="-- COMMAND...", type=click.UNPROCESSED)
def run(
    *,
    home: Home,
    name: str,
    namespace: str,
    labels: tuple[str, ...],
    service_account: str,
    ports: tuple[str, ...],
    upstreams: tuple[str, ...],
    uses: tuple[str, ...],
    scope: str,
    health: str | None,
    health_interval: float,
    health_timeout: float,
    drain: float,
    inbound_address: str,
    control_plane: str,
    token: str,
    ca_fingerprint: str,
    quiet: bool,
    application: tuple[str, ...],
) -> int:
    """Run an application with its sidecar.

    The application gets HTTP_PROXY (calls to services by name go through the mesh; docs/clients.md says which clients
    heed it), PORT and WEFT_HOST (where to listen). Signals are passed on to it, and its exit code is this command's.
    Without a COMMAND the sidecar runs alone, for an application that somebody else starts.
    """
    from weft.agent.parameters import RunParameters, Timing
    from weft.cli.agents import run_agent
    from weft.local.option_syntax import parse_health, parse_labels, parse_port, parse_upstream
    from weft.model.workload import Scope

    if uses and scope == "all":
        raise click.UsageError("--scope all loads every service, and --uses only those it names; give one of them")
    check = health or ("tcp" if ports else "none")
    parameters = RunParameters(
        home=home,
        name=name,
        command=application,
        namespace=namespace,
        service_account=service_account,
        labels=_parsed(parse_labels, labels),
        ports=tuple(_parsed(parse_port, text) for text in ports),
        upstreams=tuple(_parsed(parse_upstream, text) for text in upstreams),
        uses=uses,
        scope=Scope(scope),
        proxy_host=inbound_address,
        control_plane=_control_plane(home, control_plane, token, ca_fingerprint),
        health=_parsed(parse_health, check, health_interval, health_timeout),
        timing=Timing(drain=drain),
        quiet=quiet,
    )
    return run_agent(parameters)


@command(
    "gateway", "weft gateway bookinfo-gateway --listen 80=8080", "weft gateway shop --bind 0.0.0.0 --listen 443=auto"
)
@click.argument("name")
@home_option
@namespace_option
@click.option(
    "--service-account", default="", help="Service account: the identity in its certificate.  [default: NAME]"
)
@click.option("--bind", default="127.0.0.1", show_default=True, help="IP address that its listeners bind.")
@click.option(
    "--listen",
    multiple=True,
    metavar="PORT=auto|PORT|ADDRESS:PORT",
    help="Bind the listener on this port of the Gateway to a free port (auto), to another port, or to ADDRESS:PORT.",
)
@click.option(
    "--offset",
    type=click.IntRange(0, 60000),
    default=8000,
    show_default=True,
    help="Added to ports below 1024 that --listen does not name: port 80 is bound at 8080.",
)
@click.option(
    "--drain",
    type=click.FloatRange(0, 3600),
    default=30.0,
    show_default=True,
    help="Seconds for requests under way to finish at a stop.",
)
@_control_plane_options
def gateway(
    *,
    name: str,
    home: Home,
    namespace: str,
    service_account: str,
    bind: str,
    listen: tuple[str, ...],
    offset: int,
    drain: float,
    control_plane: str,
    token: str,
    ca_fingerprint: str,
    quiet: bool,
) -> int:
    """Run the proxy of a Gateway.

    It serves the listeners of the Gateway document NAME, which may be created, changed and deleted while it runs.
    """
    from weft.agent.parameters import GatewayParameters, Timing
    from weft.cli.agents import run_agent
    from weft.local.option_syntax import parse_listen

    where = [_parsed(parse_listen, text) for text in listen]
    addresses = {address for _, address, _ in where if address} or {bind}
    if len(addresses) > 1:
        raise click.UsageError(f"one gateway binds one address, not {' and '.join(sorted(addresses))}")
    parameters = GatewayParameters(
        home=home,
        gateway=name,
        namespace=namespace,
        service_account=service_account,
        address=addresses.pop(),
        offset=offset,
        listen=tuple((listener, port) for listener, _, port in where),
        control_plane=_control_plane(home, control_plane, token, ca_fingerprint),
        timing=Timing(drain=drain),
        quiet=quiet,
    )
    return run_agent(parameters)
