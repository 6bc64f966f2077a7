"""The environment variables that lead an application through its sidecar."""

from __future__ import annotations

import re
from collections.abc import Mapping

from weft.agent.state import State
from weft.model.identity import DNS_SUFFIX
from weft.model.labels import Labels

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROXY = ("HTTP_PROXY", "http_proxy", "grpc_proxy", "ws_proxy")
"""What clients read for ``http://``, gRPC and ``ws://``. The last two are read before a ``https_proxy`` that was there.
``HTTPS_PROXY`` is not ours to set: see ADR 0044."""
_NO_PROXY = ("NO_PROXY", "no_proxy")
_NODE = "NODE_USE_ENV_PROXY"


def sidecar_environment(
    inherited: Mapping[str, str], state: State, extra: Labels = (), proxy: str = ""
) -> dict[str, str]:
    """`inherited`, with the proxy and the ports of `state`, then `extra` over all. `proxy` is the proxy's address with
    its secret, where it has one.

    ``PORT`` and ``WEFT_HOST`` say where to listen, ``WEFT_PORT_<n>`` the same for each port of the mesh; ``HTTP_PROXY``
    (``grpc_proxy``, ``ws_proxy``) is the way out, except for loopback and what ``NO_PROXY`` named before and cannot be
    a service; ``NODE_USE_ENV_PROXY`` has Node heed them, unless it is set; ``WEFT_UPSTREAM_<SERVICE>_<PORT>`` are the
    declared upstreams. Where a holder or a relay leads its connections there is no proxy in it, not even one that was
    there.
    """
    if state.captured_by.with_secret:
        environment = {name: value for name, value in inherited.items() if name not in _PROXY}
    else:
        environment = {_NODE: "1", **inherited}
        environment.update(dict.fromkeys(_PROXY, proxy or f"http://127.0.0.1:{state.outbound}"))
        environment.update(dict.fromkeys(_NO_PROXY, ",".join(_direct(inherited))))
    if state.ports:
        environment.update(WEFT_HOST=state.ports[0].application.host, PORT=str(state.ports[0].application.port))
    for port in state.ports:
        environment[f"WEFT_PORT_{port.port}"] = str(port.application.port)
    for upstream in state.upstreams:
        environment[upstream_variable(upstream.service, upstream.port)] = str(upstream.listen)
    environment.update(extra)
    return environment


def replaced_proxy(inherited: Mapping[str, str]) -> str:
    """The variable of `inherited` whose proxy the sidecar takes the place of; empty if there is none."""
    return next((name for name in _PROXY if inherited.get(name)), "")


def upstream_variable(service: str, port: int) -> str:
    """The variable that tells an application where an upstream is: ``WEFT_UPSTREAM_RATINGS_DB_5432``."""
    return f"WEFT_UPSTREAM_{re.sub('[^A-Z0-9]', '_', service.upper())}_{port}"


def _direct(inherited: Mapping[str, str]) -> tuple[str, ...]:
    """What is called without a proxy: loopback, and what was before, but for names that services may have."""
    texts = ",".join(inherited.get(name, "") for name in _NO_PROXY).replace(",", " ").split()
    return tuple(dict.fromkeys((*_LOOPBACK, *(text for text in texts if not _may_be_service(text)))))


def _may_be_service(text: str) -> bool:
    """A name without a dot, all names (``*``), and what ends as services' full names do, or covers them."""
    name = text.lower().lstrip("*.")
    suffix = f".svc.{DNS_SUFFIX}"
    return not re.search("[.:]", name) or name.endswith((".svc", suffix)) or suffix.endswith(f".{name}")
