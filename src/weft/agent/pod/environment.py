"""What the environment of a pod's proxy says, which the injector has written into the pod: checked, or refused by the
name of the variable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weft.agent.errors import EXIT_USAGE, AgentError
from weft.agent.identity import normal_fingerprint
from weft.agent.parameters import ControlPlane, PortParameter
from weft.agent.pod.probes import Probe, ProbesError, probes_from_text
from weft.model.addresses import is_ip_address, is_loopback, is_wildcard
from weft.model.identity import is_dns_label
from weft.model.labels import Labels
from weft.settings.home import Home

DRAIN_SECONDS = 5.0
"""How long a proxy serves on at least once it was asked to stop: callers without a proxy hear of it by then."""
GRACE_SECONDS = 30.0
"""Kubernetes' own terminationGracePeriodSeconds."""
_BELOW = "home"
"""Within ``WEFT_HOME``, which is a volume: everybody's, as the kubelet makes it."""
_LONGEST_SECONDS = 86_400.0
_DEMANDED = {
    "POD_NAME": "the pod's name",
    "POD_NAMESPACE": "its namespace",
    "POD_IP": "its IP address",
    "POD_SERVICE_ACCOUNT": "its service account",
    "WEFT_SERVER": "HOST:PORT of the control plane's agent API",
    "WEFT_CA_FINGERPRINT": "sha256:HEX of the mesh's root certificate",
    "WEFT_HOME": "a directory that is the proxy's own",
    "WEFT_TOKEN_FILE": "the file with the pod's token",
}


@dataclass(frozen=True, slots=True)
class PodParameters:
    """What a proxy in a pod is asked to be. `drain` and `grace` in seconds; `probes` of applications by their paths.
    `gateway` is the Gateway that it serves, if it is no sidecar. `labels` and `ports` are for a control plane that has
    them from no API server."""

    home: Home
    name: str
    namespace: str
    address: str
    service_account: str
    control_plane: ControlPlane
    probes: Mapping[str, Probe]
    drain: float = DRAIN_SECONDS
    grace: float = GRACE_SECONDS
    gateway: str = ""
    labels: Labels = ()
    ports: tuple[PortParameter, ...] = ()


def pod_parameters(environment: Mapping[str, str]) -> PodParameters:
    """The parameters in `environment`. AgentError names the variable, what was found and what was expected."""
    if missing := [f"{name} ({what})" for name, what in _DEMANDED.items() if not environment.get(name)]:
        raise AgentError(f"not in the environment: {', '.join(missing)}; the injector puts them there", EXIT_USAGE)
    for name in ("POD_NAME", "POD_NAMESPACE", "POD_SERVICE_ACCOUNT"):
        if not is_dns_label(environment[name]):
            _refuse(name, environment[name], "lower-case letters, digits and '-', at most 63 characters")
    home = Path(environment["WEFT_HOME"])
    if not home.is_absolute():
        _refuse("WEFT_HOME", str(home), "an absolute path")
    return PodParameters(
        home=Home(home / _BELOW),
        name=environment["POD_NAME"],
        namespace=environment["POD_NAMESPACE"],
        address=pod_address(environment),
        service_account=environment["POD_SERVICE_ACCOUNT"],
        control_plane=_control_plane(environment),
        probes=_probes(environment.get("WEFT_POD_PROBES", "")),
        drain=_seconds(environment, "WEFT_DRAIN_SECONDS", DRAIN_SECONDS),
        grace=_seconds(environment, "WEFT_GRACE_SECONDS", GRACE_SECONDS),
        gateway=environment.get("WEFT_POD_GATEWAY", ""),
    )


def pod_address(environment: Mapping[str, str]) -> str:
    """``POD_IP``. AgentError as above."""
    address = environment.get("POD_IP", "")
    if not is_ip_address(address) or is_loopback(address) or is_wildcard(address):
        _refuse("POD_IP", address, "the IP address at which others reach the pod")
    return address


def _control_plane(environment: Mapping[str, str]) -> ControlPlane:
    server, fingerprint = environment["WEFT_SERVER"], environment["WEFT_CA_FINGERPRINT"]
    host, _, port = server.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65536:
        _refuse("WEFT_SERVER", server, "HOST:PORT, such as weft.weft-system.svc:15013")
    text = normal_fingerprint(fingerprint)
    if not fingerprint.lower().startswith("sha256:") or len(text) != 64 or set(text) - set("0123456789abcdef"):
        _refuse("WEFT_CA_FINGERPRINT", fingerprint, "sha256: and 64 digits in hexadecimal")
    return ControlPlane(server, fingerprint, token_file=environment["WEFT_TOKEN_FILE"])


def _probes(text: str) -> Mapping[str, Probe]:
    try:
        return probes_from_text(text) if text else {}
    except ProbesError as error:
        raise AgentError(f"WEFT_POD_PROBES: {error}", EXIT_USAGE) from error


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_SECONDS:
        _refuse(name, text, f"seconds, from 0 to {_LONGEST_SECONDS:g}")
    return seconds


def _refuse(name: str, found: str, expected: str) -> None:
    raise AgentError(f"{name}: found {found[:80]!r}, expected {expected}", EXIT_USAGE)
