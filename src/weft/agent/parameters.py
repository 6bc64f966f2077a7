"""What the agent is asked to do: the parameters of `run_workload` and `run_gateway`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from weft.agent.errors import EXIT_USAGE, AgentError
from weft.model.labels import Labels
from weft.model.locality import NOWHERE, Locality
from weft.model.network_namespace import NetworkNamespace
from weft.model.workload import Scope
from weft.settings.home import Home

ProxyAuth = Literal["auto", "on", "off"]
CaptureHow = Literal["best", "rules", "seccomp", "strict"]
_LONGEST_TOKEN = 16_384
DEFAULT_NAMESPACE = "default"
DEFAULT_SERVICE_ACCOUNT = "default"


@dataclass(frozen=True, slots=True)
class JoinProofs:
    """Files with what a join token may demand, empty for what there is not: a private key (PEM, 0600), an identity
    document of the cloud (a token, or with AWS JSON), and the signature that AWS gives to it."""

    key: str = ""
    document: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """How to reach the control plane.

    By default (`server` empty) over the unix socket of `home`, which a control plane of the same host made. Else over
    TLS 1.3 at `server` (``HOST:PORT``), proven by `ca_fingerprint` (``sha256:HEX`` of the root certificate); the agent
    proves itself once with `token` (``weft-...``), afterwards with its certificate. `hint` tells a person how to start
    one. `socket` is another unix socket than that of `home`: the one that a control plane has for other users.
    `token_file` has the token in a pod, where the kubelet renews it: it is read at each use.
    `proofs` are for a token that demands them. `identity_from` is the unix socket of a Workload API that gives the
    workload its certificate (empty: the control plane does); on another host it is what the agent joins by.
    """

    server: str = ""
    ca_fingerprint: str = ""
    token: str = field(default="", repr=False)
    hint: str = ""
    socket: str = ""
    proofs: JoinProofs = JoinProofs()
    identity_from: str = ""
    token_file: str = ""

    @property
    def has_token(self) -> bool:
        """Whether there is a token to join by."""
        return bool(self.token or self.token_file)

    def read_token(self) -> str:
        """The token as it is now; empty if there is none. AgentError when its file holds none."""
        if not self.token_file:
            return self.token
        try:
            text = Path(self.token_file).read_bytes()[:_LONGEST_TOKEN].decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise AgentError(f"cannot read the token in {self.token_file}: {why}") from error
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise AgentError(f"{self.token_file}: found no token, expected one word: that of the pod's ServiceAccount")
        return text

    @property
    def joining(self) -> str:
        """What a person does so that the agent may join again, to be added to a message."""
        if self.token_file:
            return "; the pod's token is shown instead"
        return ". To join again, set WEFT_TOKEN to a token that `weft token create` makes on the control plane's host"

    @property
    def joining_anew(self) -> str:
        """The same where the control plane has another root than the one given."""
        if self.token_file:
            return "delete the pod: the one that takes its place is told of the new one"
        return "join again with the token and the fingerprint that `weft token create` prints on its host"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `server`. AgentError when it is not ``HOST:PORT``."""
        host, _, port = self.server.rpartition(":")
        if not host or not port.isdigit():
            raise AgentError(f"'{self.server}': expected HOST:PORT of the agent API", EXIT_USAGE)
        return host.strip("[]"), int(port)


@dataclass(frozen=True, slots=True)
class PortParameter:
    """``--port N``, ``--port N:auto`` or ``--port N:M``: `application` is where the application listens on loopback;
    None means N itself, 0 any free port (the application finds it in ``PORT`` and ``WEFT_PORT_N``). With ``NAME=`` in
    front the port has a name, which Services may give as targetPort."""

    port: int
    application: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class UpstreamParameter:
    """``--upstream SERVICE:PORT[=LOCALPORT]``: `local` 0 means any free port, which the application finds in
    ``WEFT_UPSTREAM_<SERVICE>_<PORT>=127.0.0.1:N``."""

    service: str
    port: int
    local: int = 0


@dataclass(frozen=True, slots=True)
class HealthParameters:
    """How the application's health is checked: ``tcp`` connects to each port, ``http`` asks for `path` at the first
    (200 to 399 is healthy), ``none`` calls it healthy as soon as it runs. Times in seconds. With `port` only that one
    is asked; HTTP with these `headers`, as `host`, and over `tls` (whoever proves to be there). The first check is
    after `delay`."""

    kind: str = "tcp"
    path: str = "/"
    interval: float = 2.0
    timeout: float = 2.0
    unhealthy_after: int = 3
    healthy_after: int = 1
    port: int = 0
    host: str = ""
    tls: bool = False
    headers: Labels = ()
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Deadlines and grace periods, in seconds.

    `wait` limits how long the start may take until the control plane answers (0: for ever); `drain` how long an
    ordered stop waits for callers and for requests in flight, `serve_on` how long it serves on at least; `grace` how
    long a process that was asked to stop may take before it is killed; `ready` how long Envoy may take until it is
    configured; `unused` how long an application that serves may leave its proxy unused before that is told.
    """

    wait: float = 0.0
    drain: float = 30.0
    serve_on: float = 0.0
    grace: float = 10.0
    ready: float = 30.0
    unused: float = 30.0


@dataclass(frozen=True, slots=True)
class GroupParameters:
    """``--group NAME``: the WorkloadGroup that says what the command line does not. Whether that `has_account` and
    `has_health` of its own."""

    name: str
    has_account: bool = False
    has_health: bool = False


@dataclass(frozen=True, slots=True)
class DnsParameters:
    """``--dns``: names are answered at `port` of loopback (0: where they were, else at the usual port or any free one).
    `upstream` (``HOST[:PORT]``) are asked for names that are none of the mesh; without any, the resolvers of the
    host."""

    port: int = 0
    upstream: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CaptureParameters:
    """``--capture``: connections of the application are led to `port` of loopback (0: where they were, else the usual
    port or any free one), by rules that somebody installs, by seccomp or by the relay of a network of its own
    (``strict``): by what of the first two works `best` here, or by `how`."""

    port: int = 0
    how: CaptureHow = "best"


@dataclass(frozen=True, slots=True)
class InboundCaptureParameters:
    """``--inbound-capture``: connections of callers are led to `port` of all addresses (0: where they were, else the
    usual port or any free one) by whoever installs the rules; `transparent`: by TPROXY, so that the application sees
    their addresses."""

    port: int = 0
    transparent: bool = False


@dataclass(frozen=True, slots=True)
class NamespaceParameters:
    """The network namespace in which the application lives, by the `path` of its file. `place` is the line that asks
    for it, and `generation` which namespace is there now (empty: none that can be used, and the workload waits)."""

    path: str
    place: str = field(default="", compare=False)
    generation: str = ""


@dataclass(frozen=True, slots=True)
class RunParameters:
    """``weft run``: one application with its sidecar.

    `command` may be empty: then the sidecar runs alone for an application started by somebody else. `proxy_host` is
    the address inbound listeners bind and callers use (empty: `weft.agent.inbound_address` chooses). The application
    tells Prometheus its metrics at `metrics_port` and `metrics_path` (0 and empty: as its labels say). `proxy_auth`:
    whether its outbound proxy serves only who knows the workload's secret. `locality` is where this host is. `group`
    says the rest, and `weight` how many calls it takes beside others of 1. With `dns` its agent answers names, and with
    `capture` its proxy takes connections that were made to services, with `inbound_capture` those that were made to the
    application. `outbound_port` is where its outbound proxy listens (0: where it did before, or anywhere). With
    `network_namespace` its application lives there, on a host whose proxy is shared.
    """

    home: Home
    name: str
    command: tuple[str, ...] = ()
    namespace: str = DEFAULT_NAMESPACE
    service_account: str = DEFAULT_SERVICE_ACCOUNT
    labels: Labels = ()
    ports: tuple[PortParameter, ...] = ()
    upstreams: tuple[UpstreamParameter, ...] = ()
    uses: tuple[str, ...] = ()
    scope: Scope = Scope.DEMAND
    proxy_host: str = ""
    environment: Labels = ()
    directory: str = ""
    control_plane: ControlPlane = ControlPlane()
    health: HealthParameters = HealthParameters()
    timing: Timing = Timing()
    quiet: bool = False
    metrics_port: int = 0
    metrics_path: str = ""
    proxy_auth: ProxyAuth = "auto"
    locality: Locality = NOWHERE
    group: GroupParameters | None = None
    weight: int = 1
    dns: DnsParameters | None = None
    capture: CaptureParameters | None = None
    outbound_port: int = 0
    inbound_capture: InboundCaptureParameters | None = None
    network_namespace: NamespaceParameters | None = None

    @property
    def placed(self) -> NetworkNamespace | None:
        """The namespace of its application as the control plane is told of it."""
        where = self.network_namespace
        return NetworkNamespace(where.path, where.generation) if where is not None else None


@dataclass(frozen=True, slots=True)
class GatewayParameters:
    """``weft gateway NAME``: a stand-alone proxy that serves the listeners of a Gateway document.

    `listen` maps listener ports to where they bind (0: any free port); others bind `address` at their number, plus
    `offset` below 1024. `service_account` empty means the gateway's name. `name` of the workload is `gateway`.
    """

    home: Home
    gateway: str
    namespace: str = DEFAULT_NAMESPACE
    service_account: str = ""
    labels: Labels = ()
    address: str = "127.0.0.1"
    offset: int = 0
    listen: tuple[tuple[int, int], ...] = ()
    control_plane: ControlPlane = ControlPlane()
    timing: Timing = Timing()
    quiet: bool = False
    locality: Locality = NOWHERE
