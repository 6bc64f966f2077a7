"""The environment variables that lead an application through its sidecar."""

from __future__ import annotations

import re
from collections.abc import Mapping

from weft.agent.state import State
from weft.model.labels import Labels

_NO_PROXY = "localhost,127.0.0.1,::1"


def sidecar_environment(inherited: Mapping[str, str], state: State, extra: Labels = ()) -> dict[str, str]:
    """`inherited`, with the proxy and the ports of `state`, then `extra` over all.

    ``PORT`` and ``HOST`` say where to listen, ``WEFT_PORT_<n>`` the same for each port of the mesh; ``HTTP_PROXY`` is
    the way out, except for loopback (``NO_PROXY``); ``WEFT_UPSTREAM_<SERVICE>_<PORT>`` are the declared upstreams.
    """
    environment = dict(inherited)
    proxy = f"http://127.0.0.1:{state.outbound}"
    environment.update(HTTP_PROXY=proxy, http_proxy=proxy, NO_PROXY=_NO_PROXY, no_proxy=_NO_PROXY)
    if state.ports:
        environment.update(HOST=state.ports[0].application.host, PORT=str(state.ports[0].application.port))
    for port in state.ports:
        environment[f"WEFT_PORT_{port.port}"] = str(port.application.port)
    for upstream in state.upstreams:
        environment[upstream_variable(upstream.service, upstream.port)] = str(upstream.listen)
    environment.update(extra)
    return environment


def upstream_variable(service: str, port: int) -> str:
    """The variable that tells an application where an upstream is: ``WEFT_UPSTREAM_RATINGS_DB_5432``."""
    return f"WEFT_UPSTREAM_{re.sub('[^A-Z0-9]', '_', service.upper())}_{port}"
