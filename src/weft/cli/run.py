"""`weft run` and `weft gateway`: an application with its sidecar, and the proxy of a Gateway."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from weft.cli.complete import one_of
from weft.cli.options import CommandT, PortNumber, command, home_option, namespace_option, workload_api_socket
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.agent.parameters import ControlPlane, GroupParameters, ProxyAuth, RunParameters
    from weft.model.locality import Locality

ValueT = TypeVar("ValueT")


def _control_plane_options(function: CommandT) -> CommandT:
    for option in (
        click.option("--quiet", is_flag=True, help="Print only warnings and errors of the agent."),
        click.option(
            "--join-proof",
            multiple=True,
            metavar="KIND=FILE",
            help="What a token demands besides itself: key=FILE, a private key in PEM; document=FILE, the cloud's "
            "identity document; signature=FILE, with AWS its signature.",
        ),
        click.option(
            "--identity-from",
            default="",
            envvar="WEFT_IDENTITY_FROM",
            metavar="unix:PATH|spire",
            help="The workload's certificate comes from this SPIFFE Workload API, such as that of SPIRE's agent; with "
            "--control-plane it is what the agent joins by, instead of a token.  [env: WEFT_IDENTITY_FROM; default: "
            "from the control plane]",
        ),
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
            metavar="HOST:PORT|unix:PATH",
            default="",
            help="Agent API of a control plane on another host, or its socket for other users of this one."
            "  [default: the one of --home]",
        ),
    ):
        function = option(function)
    return function


def _dns_options(function: CommandT) -> CommandT:
    for option in (
        click.option(
            "--outbound-port",
            type=PortNumber(least=0),
            default=0,
            help="Where its outbound proxy listens on loopback, for an application that others tell.  [default: any]",
        ),
        click.option(
            "--capture",
            default="off",
            metavar="on|off|seccomp|strict|rules|PORT",
            shell_complete=one_of("on", "off", "seccomp", "strict", "rules"),
            envvar="WEFT_CAPTURE",
            help="Lead the application's connections into the mesh: it knows of no proxy. seccomp: of the COMMAND, "
            "without root. strict: the COMMAND, without root, has a network of its own, whose only way out is the "
            "proxy. rules or PORT: of others, by rules that root installs (`weft capture install`), to this port of "
            "loopback. on: seccomp where that works here and there is a COMMAND, else rules. Names are answered, too, "
            "but with --dns off. See docs/capture.md.  [env: WEFT_CAPTURE; default: off]",
        ),
        click.option(
            "--inbound-capture",
            default="off",
            metavar="on|off|PORT|tproxy",
            shell_complete=one_of("on", "off", "tproxy"),
            envvar="WEFT_INBOUND_CAPTURE",
            help="Be reached at the application's own ports: `weft capture install` leads their callers into the "
            "proxy, to this port. With tproxy the application sees their addresses. See docs/capture.md.  "
            "[env: WEFT_INBOUND_CAPTURE; default: off]",
        ),
        click.option(
            "--dns-upstream",
            "dns_upstreams",
            multiple=True,
            metavar="IP[:PORT]",
            help="A resolver for names that are none of the mesh; may be given again.  [default: those of "
            "/etc/resolv.conf]",
        ),
        click.option(
            "--dns",
            default="off",
            metavar="on|off|PORT",
            shell_complete=one_of("on", "off"),
            envvar="WEFT_ANSWER_NAMES",
            help="Answer names of the mesh over DNS on loopback, at a port that is in the application's variable "
            "WEFT_DNS. See docs/names.md.  [env: WEFT_ANSWER_NAMES; default: off]",
        ),
    ):
        function = option(function)
    return function


def _parsed(option: str, parse: Callable[..., ValueT], *arguments: object) -> ValueT:
    """What the value of an option means. UsageError, which names it."""
    from weft.local.option_syntax import OptionValueError

    try:
        return parse(*arguments)
    except OptionValueError as error:
        raise click.UsageError(f"{option}: {error}") from error


def _place(text: str) -> Locality:
    from weft.agent.instance_metadata import AWS, aws_locality
    from weft.local.option_syntax import parse_locality

    return aws_locality() if text == AWS else _parsed("--locality", parse_locality, text)


def _with_names_and_capture(parameters: RunParameters, given: dict[str, Any]) -> RunParameters:
    """As the options of `_dns_options` have it: who captures has names answered, unless --dns says otherwise."""
    from weft.local.option_syntax import parse_capture, parse_dns, parse_inbound_capture

    captures = _parsed("--capture", parse_capture, given["capture"])
    chosen = click.get_current_context().get_parameter_source("dns") is not ParameterSource.DEFAULT
    dns = _parsed("--dns", parse_dns, given["dns"] if chosen or captures is None else "on", given["dns_upstreams"])
    led = _parsed("--inbound-capture", parse_inbound_capture, given["inbound_capture"])
    more = {"inbound_capture": led, "outbound_port": given["outbound_port"]}
    return replace(parameters, dns=dns, capture=captures, **more)


def _credential() -> str:
    """The join token that systemd has handed over; empty if it has not."""
    from weft.local.services import CREDENTIAL

    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    try:
        return (Path(directory) / CREDENTIAL).read_text().strip() if directory else ""
    except OSError:
        return ""


def control_plane_of(home: Home, given: dict[str, Any]) -> ControlPlane:
    """The control plane as the options of `_control_plane_options` name it."""
    from weft.agent.parameters import ControlPlane, JoinProofs
    from weft.local.command_line import command_line

    server, fingerprint = given["control_plane"], given["ca_fingerprint"]
    token = given["token"] or (_credential() if server and not server.startswith("unix:") else "")
    proofs, source = given["join_proof"], workload_api_socket(given["identity_from"])
    if server.startswith("unix:"):
        if token or fingerprint:
            raise click.UsageError("on this host no --token and no --ca-fingerprint is needed")
        return ControlPlane(socket=server.removeprefix("unix:"), identity_from=source)
    if (token or fingerprint) and not server:
        raise click.UsageError("--token and --ca-fingerprint go with --control-plane HOST:PORT")
    if proofs and not server:
        raise click.UsageError("--join-proof goes with --control-plane HOST:PORT")
    files = dict(proof.split("=", 1) for proof in proofs if "=" in proof)
    if len(files) < len(proofs) or not set(files) <= {"key", "document", "signature"}:
        raise click.UsageError("--join-proof: expected key=FILE, document=FILE or signature=FILE, each once")
    if server and not fingerprint:
        raise click.UsageError("--control-plane needs --ca-fingerprint, which `weft token create` prints")
    hint = "" if server else command_line("serve", "--home", str(home.root))
    return ControlPlane(server, fingerprint, token, hint, proofs=JoinProofs(**files), identity_from=source)


_group_option = click.option(
    "--group",
    default="",
    envvar="WEFT_GROUP",
    metavar="NAME",
    help="WorkloadGroup of its namespace that says what is not said here: labels, ports, service account, locality, "
    "weight, health check.  [env: WEFT_GROUP]",
)


_locality_option = click.option(
    "--locality",
    default="",
    envvar="WEFT_LOCALITY",
    metavar="REGION[/ZONE[/SUBZONE]]|from:aws",
    help="Where this host is: callers may prefer instances near by. from:aws asks AWS' instance metadata.  "
    "[env: WEFT_LOCALITY]",
)


def _group(name: str, account: str, health: str | None, given: dict[str, Any]) -> GroupParameters | None:
    from weft.agent.parameters import GroupParameters

    if name and given["identity_from"] and given["control_plane"]:
        raise click.UsageError("--group with --identity-from goes with the control plane of this host's --home only")
    context = click.get_current_context()
    for option in ("health_interval", "health_timeout") if name and health is None else ():
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            written = f"--{option.replace('_', '-')}"
            raise click.UsageError(f"{written} goes with --health: without it the group says how health is asked")
    return GroupParameters(name, bool(account), health is not None) if name else None


def _check_scope(uses: tuple[str, ...], scope: str) -> None:
    if uses and scope == "all":
        raise click.UsageError("--scope all loads every service, and --uses only those it names; give one of them")


def _metrics_path(port: int | None, path: str) -> str:
    from weft.local.option_syntax import is_metrics_path

    if path and not port:
        raise click.UsageError("--metrics-path goes with --metrics-port PORT")
    if path and not is_metrics_path(path):
        raise click.UsageError(f"--metrics-path: found '{path}', expected a path such as /metrics")
    return path


@command(
    "run",
    "weft run --name reviews-v2 --labels app=reviews,version=v2 --service-account reviews \\",
    "         --port 9080 --health http:/health -- python reviews.py",
    "weft run --name shop --port 8080:auto --upstream postgres:5432=15432 -- ./shop",
    "weft run --name shop --port 8080 --metrics-port 9100 -- ./shop",
    "weft run --name reviews-1 --group reviews -- python reviews.py",
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
    "--service-account",
    default="",
    help="Service account: the identity in its certificate.  [default: the group's, else default]",
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
    shell_complete=one_of("tcp", "none", "http:/"),
    help="Health check: connect to its ports, none, or GET this path.  [default: the group's; else tcp; none without "
    "--port]",
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
    metavar="IP|towards:HOST:PORT",
    help="IP address of this host at which callers reach the workload, or the one on the way to a host.  [default: "
    "127.0.0.1; with --control-plane, this host's address on the way there]",
)
@click.option(
    "--metrics-port",
    type=PortNumber(),
    metavar="PORT",
    help="Port of the application's own metrics for Prometheus; the sidecar's endpoint tells them too.",
)
@click.option("--metrics-path", default="", metavar="PATH", help="Where they are.  [default: /metrics]")
@click.option(
    "--proxy-auth",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    envvar="WEFT_PROXY_AUTH",
    show_default=True,
    help="Whether its outbound proxy serves only who knows the secret in the application's HTTP_PROXY; auto: on a host "
    "with other users.  [env: WEFT_PROXY_AUTH]",
)
@_locality_option
@_group_option
@_dns_options
@_control_plane_options
@click.argument("application", nargs=-1, metavar="-- COMMAND...", type=click.UNPROCESSED)
def run(**given: Any) -> int:
    """Run an application with its sidecar.

    The application gets HTTP_PROXY (calls to services by name go through the mesh; docs/clients.md says which clients
    heed it), PORT and WEFT_HOST (where to listen). Signals are passed on to it, and its exit code is this command's.
    Without a COMMAND the sidecar runs alone, for an application that somebody else starts.
    """
    from weft.cli.agents import run_agent

    return run_agent(run_parameters(**given))


def run_parameters(
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
    metrics_port: int | None,
    metrics_path: str,
    proxy_auth: ProxyAuth,
    locality: str,
    group: str,
    application: tuple[str, ...],
    **given: Any,
) -> RunParameters:
    """What the options of `weft run` ask for; click's errors where they cannot be taken."""
    from weft.agent.parameters import DEFAULT_SERVICE_ACCOUNT, RunParameters, Timing
    from weft.local.option_syntax import parse_health, parse_labels, parse_port, parse_upstream
    from weft.model.workload import Scope

    _check_scope(uses, scope)
    parameters = RunParameters(
        home=home,
        name=name,
        command=application,
        namespace=namespace,
        service_account=service_account or DEFAULT_SERVICE_ACCOUNT,
        labels=_parsed("--labels", parse_labels, labels),
        ports=tuple(_parsed("--port", parse_port, text) for text in ports),
        upstreams=tuple(_parsed("--upstream", parse_upstream, text) for text in upstreams),
        uses=uses,
        scope=Scope(scope),
        proxy_host=inbound_address,
        control_plane=control_plane_of(home, given),
        health=_parsed(
            "--health", parse_health, health or ("tcp" if ports else "none"), health_interval, health_timeout
        ),
        timing=Timing(drain=drain),
        quiet=given["quiet"],
        metrics_port=metrics_port or 0,
        metrics_path=_metrics_path(metrics_port, metrics_path),
        proxy_auth=proxy_auth,
        locality=_place(locality),
        group=_group(group, service_account, health, given),
    )
    return _with_names_and_capture(parameters, given)


@command(
    "gateway",
    "weft gateway bookinfo-gateway --listen 80=8080",
    "weft gateway shop --bind 0.0.0.0 --listen 443=auto",
    "weft gateway istio-ingressgateway -n istio-system --labels istio=ingressgateway",
)
@click.argument("name")
@home_option
@namespace_option
@click.option(
    "--service-account", default="", help="Service account: the identity in its certificate.  [default: NAME]"
)
@click.option(
    "--labels",
    multiple=True,
    metavar="KEY=VALUE[,...]",
    help="Labels, by which Istio's Gateways and policies select it.  [default: istio=NAME without 'istio-']",
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
@_locality_option
@_control_plane_options
def gateway(
    *,
    name: str,
    home: Home,
    namespace: str,
    service_account: str,
    labels: tuple[str, ...],
    bind: str,
    listen: tuple[str, ...],
    offset: int,
    drain: float,
    locality: str,
    quiet: bool,
    **given: Any,
) -> int:
    """Run the proxy of a Gateway.

    It serves the Gateway document NAME of the Gateway API, and every Gateway of Istio whose selector has its labels.
    Both may be created, changed and deleted while it runs.
    """
    from weft.agent.parameters import GatewayParameters, Timing
    from weft.cli.agents import run_agent
    from weft.local.option_syntax import parse_labels, parse_listen

    where = [_parsed("--listen", parse_listen, text) for text in listen]
    addresses = {address for _, address, _ in where if address} or {bind}
    if len(addresses) > 1:
        raise click.UsageError(f"one gateway binds one address, not {' and '.join(sorted(addresses))}")
    parameters = GatewayParameters(
        home=home,
        gateway=name,
        namespace=namespace,
        service_account=service_account,
        labels=_parsed("--labels", parse_labels, labels),
        address=addresses.pop(),
        offset=offset,
        listen=tuple((listener, port) for listener, _, port in where),
        control_plane=control_plane_of(home, given),
        timing=Timing(drain=drain),
        quiet=quiet,
        locality=_place(locality),
    )
    return run_agent(parameters)
