"""Calls from one demo service to another: through HTTP_PROXY where it is set, over kept connections."""

from __future__ import annotations

import base64
import http.client
import os
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

FORWARDED = (
    "x-request-id",
    "end-user",
    "user-agent",
    "cookie",
    "authorization",
    "jwt",
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-ot-span-context",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "sw8",
)
"""Request headers that every service hands on, so that traces join and rules on the user work everywhere."""

_MAX_IDLE = 64
_BROKEN = (ConnectionError, http.client.BadStatusLine, http.client.CannotSendRequest)


def forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of `headers` (names in lower case) that are handed on."""
    return {name: headers[name] for name in FORWARDED if name in headers}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered; status 0 means no answer at all (refused, broken or too slow)."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] | None = None


class ServiceClient:
    """Calls one service by its mesh address. Threads may share it."""

    def __init__(self, host: str, port: int, patience: float = 0.0) -> None:
        self.authority = f"{host}:{port}"
        self._patience = patience
        self._peer = (host, port)
        self._form = ""
        self._own: dict[str, str] = {}
        proxy = getproxies_environment().get("http")
        if proxy and not proxy_bypass_environment(self.authority):
            parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            self._peer = (parts.hostname or "127.0.0.1", parts.port or 80)
            self._form = f"http://{self.authority}"
            if parts.username:
                secret = f"{parts.username}:{parts.password or ''}".encode()
                self._own = {"proxy-authorization": f"Basic {base64.b64encode(secret).decode()}"}
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._lock = threading.Lock()

    def get(self, path: str, headers: Mapping[str, str], timeout: float) -> Answer:
        """GET `path`. A kept connection that turns out to be closed is replaced once; nothing else is tried again.

        `timeout` in seconds, unless the client's own patience is longer.
        """
        timeout = max(timeout, self._patience)
        connection = self._take()
        if connection is not None:
            try:
                return self._exchange(connection, path, headers, timeout)
            except _BROKEN:
                connection.close()
            except (OSError, http.client.HTTPException):
                connection.close()
                return Answer(0)
        connection = http.client.HTTPConnection(*self._peer, timeout=timeout)
        try:
            return self._exchange(connection, path, headers, timeout)
        except (OSError, http.client.HTTPException):
            connection.close()
            return Answer(0)

    def close(self) -> None:
        """Close the kept connections."""
        while (connection := self._take()) is not None:
            connection.close()

    def _exchange(
        self, connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str], timeout: float
    ) -> Answer:
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        connection.request("GET", self._form + path, headers={**headers, **self._own, "host": self.authority})
        response = connection.getresponse()
        answer = Answer(response.status, response.read(), {k.lower(): v for k, v in response.getheaders()})
        self._give_back(connection)
        return answer

    def _take(self) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            keep = connection.sock is not None and len(self._idle) < _MAX_IDLE
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()


def client_from_environment(service: str) -> ServiceClient:
    """The client for `service`, at ``<SERVICE>_HOSTNAME`` and ``<SERVICE>_SERVICE_PORT`` or its plain name and 9080.

    ``SERVICE_PATIENCE`` is the least time-out of its calls in seconds, for machines that are busy.
    """
    name = service.upper()
    domain = os.environ.get("SERVICES_DOMAIN", "")
    host = os.environ.get(f"{name}_HOSTNAME") or service
    return ServiceClient(
        f"{host}.{domain}" if domain else host,
        int(os.environ.get(f"{name}_SERVICE_PORT") or 9080),
        float(os.environ.get("SERVICE_PATIENCE") or 0),
    )
