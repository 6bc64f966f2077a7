"""Probes of the application: those that go over the network are asked by the sidecar, for callers must prove themselves
to it and the kubelet cannot.

https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.inject.findings import Findings
from weft.inject.names import METRICS, Json, member
from weft.model.origin import FieldPath

_PROBES = (("livenessProbe", "livez"), ("readinessProbe", "readyz"), ("startupProbe", "startupz"))
_ACTIONS = ("httpGet", "tcpSocket", "grpc")
_HOOKS = ("postStart", "preStop")
_KNOWN: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "httpGet": {"port": (), "path": (), "scheme": ("HTTP", "HTTPS"), "httpHeaders": (), "protocol": ("HTTP1",)},
    "tcpSocket": {"port": ()},
    "grpc": {"port": (), "service": (), "mode": ("Plaintext",)},
}
"""Fields that the agent knows, with their values where it does not take all."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_LONGEST_TIMEOUT = 3600


@dataclass(slots=True)
class Moved:
    """What the sidecar is asked instead: `served` by path, as WEFT_POD_PROBES has it, and the `originals` by
    ``CONTAINER/FIELD``, by which it is put back."""

    served: dict[str, Json] = field(default_factory=dict)
    originals: dict[str, Json] = field(default_factory=dict)


def move_probes(container: Json, path: FieldPath, moved: Moved, findings: Findings) -> Json:
    """`container`, which stands at `path`, with its probes moved to the sidecar. Those by ``exec``, and those of
    another host, stay."""
    found = dict(container)
    name = str(container.get("name"))
    for key, word in _PROBES:
        probe = container.get(key)
        action = next((one for one in _ACTIONS if isinstance(member(probe, one), dict)), "")
        if not isinstance(probe, dict) or not action or probe[action].get("host"):
            continue
        port = _port(probe[action], container)
        if port is None:
            text = f"the port '{probe[action].get('port')}' is none of the container's: the probe stays as it is"
            findings.warn(text, *path, key, action, "port", expected="a number, or the name of one of its ports")
            continue
        served = f"/app-health/{name}/{word}"
        asked = {one: value for one, value in probe[action].items() if one != "host" and value is not None}
        if unfit := _unfit(action, asked):
            findings.warn(f"the sidecar cannot ask so ({unfit}): the probe stays as it is", *path, key, action)
            continue
        timeout = probe.get("timeoutSeconds")
        seconds = min(timeout, _LONGEST_TIMEOUT) if isinstance(timeout, int) and timeout > 0 else 1
        moved.served[served] = {action: {**asked, "port": port}, "timeoutSeconds": seconds}
        moved.originals[f"{name}/{key}"] = {action: probe[action]}
        there = {"httpGet": {"path": served, "port": METRICS, "scheme": "HTTP"}}
        found[key] = _replaced(probe, action, there)
    _tell_of_hooks(container, path, findings)
    return found


def _unfit(action: str, asked: Json) -> str:
    """What the agent cannot do of a probe (`weft.agent.pod.probes`); empty: it can."""
    known = _KNOWN[action]
    for name, value in asked.items():
        if name not in known:
            return name
        if known[name] and value not in known[name]:
            return f"{name}: {value}"
    headers = asked.get("httpHeaders", [])
    for header in headers if isinstance(headers, list) else [None]:
        name, value = member(header, "name"), member(header, "value") or ""
        if not (isinstance(name, str) and _NAME.fullmatch(name) and isinstance(value, str) and _VALUE.fullmatch(value)):
            return f"the header {name}"
    texts = (asked.get("path", ""), asked.get("service", ""))
    return "" if all(isinstance(text, str) for text in texts) else "the path or the service"


def restore_probes(container: Json, originals: Json) -> Json:
    """`container` with the probes that it had."""
    found = dict(container)
    for key, _ in _PROBES:
        original, probe = originals.get(f"{container.get('name')}/{key}"), container.get(key)
        if isinstance(original, dict) and isinstance(probe, dict) and "httpGet" in probe:
            found[key] = _replaced(probe, "httpGet", original)
    return found


def _replaced(mapping: Json, key: str, instead: Json) -> Json:
    """`mapping` with `instead` where `key` was."""
    found: Json = {}
    for one, value in mapping.items():
        found.update(instead if one == key else {one: value})
    return found


def _port(action: Json, container: Json) -> int | None:
    """The number of the port, which may be the name of one of the container's."""
    port = action.get("port")
    if isinstance(port, str) and port.isascii() and port.isdecimal() and len(port) < 6:
        port = int(port)
    elif isinstance(port, str):
        ports = container.get("ports")
        of_name = [each for each in ports if member(each, "name") == port] if isinstance(ports, list) else []
        port = of_name[0].get("containerPort") if of_name else None
    good = isinstance(port, int) and not isinstance(port, bool) and 1 <= port <= 65535
    return port if good else None


def _tell_of_hooks(container: Json, path: FieldPath, findings: Findings) -> None:
    """Hooks over the network come from the kubelet as probes do, and are not moved."""
    for hook in _HOOKS:
        action = member(container, "lifecycle", hook, "httpGet")
        if isinstance(action, dict) and not action.get("host"):
            text = "the kubelet calls this hook through the proxy, in plaintext, which strict mTLS refuses"
            findings.warn(text, *path, "lifecycle", hook, "httpGet", expected="exec")
