"""A Prometheus that knows the traffic: its HTTP API, asked with the standard library, so that commands start fast.

https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

from weft.model.addresses import is_loopback
from weft.model.printable import printable
from weft.traffic.edges import ALL, Asked, Point, UnknownTrafficError, Window
from weft.traffic.promql import edge_queries, edges_from_answers, points_from_answers, series_queries

_TIMEOUT = 15.0
_MAX_ANSWER = 64 << 20
_LOOK_SECONDS = 5.0
_TOLD = 300


class PrometheusTraffic:
    """Answers as the control plane's own window does (`weft.traffic.edges.Traffic`), from the metrics that a Prometheus
    at `url` has scraped. UnknownTrafficError says in words why it cannot."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url if "://" in url else f"http://{url}")
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise UnknownTrafficError(f"{printable(url, 80)!r}: expected the URL of a Prometheus, http://HOST:PORT")
        host = self._url.hostname
        if self._url.password and self._url.scheme == "http" and not (host == "localhost" or is_loopback(host)):
            raise UnknownTrafficError(f"a password for the Prometheus at {host} would go there in plaintext: use https")

    @property
    def where(self) -> str:
        """Its address without credentials, for messages."""
        port = f":{self._url.port}" if self._url.port else ""
        return f"{self._url.scheme}://{self._url.hostname}{port}{self._url.path}"

    async def window(self, seconds: float, asked: Asked = ALL) -> Window:
        """See `weft.traffic.edges.Traffic`. Istio's metrics know no port and no rule: neither is told apart."""
        now = time.time()
        queries = edge_queries(seconds, asked)
        paths = {name: ("query", {"query": query, "time": f"{now:.3f}"}) for name, query in queries.items()}
        edges = edges_from_answers(await self._ask_all(paths), now)
        if asked.workload:
            edges = tuple(one for one in edges if asked.workload in (one.source, one.destination_workload))
        return Window(now - seconds, now, edges)

    async def series(self, seconds: float, step: int, asked: Asked = ALL) -> tuple[Point, ...]:
        """See `weft.traffic.edges.Traffic`."""
        if asked.workload:
            raise UnknownTrafficError("a series from Prometheus is of a source or a destination, not of a workload")
        end = int(time.time()) // step * step
        times = range(end - round(seconds) // step * step + step, end + 1, step)
        span = {"start": str(times[0]), "end": str(times[-1]), "step": str(step)}
        queries = series_queries(step, asked)
        paths = {name: ("query_range", {"query": query, **span}) for name, query in queries.items()}
        return points_from_answers(await self._ask_all(paths), times, step)

    async def changed(self, after: int) -> int:
        """See `weft.traffic.edges.Traffic`: every few seconds there may be news."""
        if after:
            await asyncio.sleep(_LOOK_SECONDS)
        return after + 1

    async def _ask_all(self, paths: Mapping[str, tuple[str, Mapping[str, str]]]) -> dict[str, Sequence[dict[str, Any]]]:
        return await asyncio.to_thread(lambda: {name: self._ask(*path) for name, path in paths.items()})

    def _ask(self, what: str, query: Mapping[str, str]) -> Sequence[dict[str, Any]]:
        status, raw = self._exchange(f"/api/v1/{what}", urlencode(query))
        try:
            answer = json.loads(raw)
            if answer["status"] == "success":
                result: list[dict[str, Any]] = answer["data"]["result"]
                return result
            said = f"{answer.get('errorType', 'error')}: {answer.get('error', '')}"
        except (ValueError, KeyError, TypeError):
            said = ""
        if status in (401, 403):
            raise UnknownTrafficError(
                f"the Prometheus at {self.where} wants credentials: http://USER:PASSWORD@HOST:PORT"
            )
        if said:
            raise UnknownTrafficError(f"the Prometheus at {self.where} refused a query: {printable(said, _TOLD)}")
        raise UnknownTrafficError(
            f"what answers at {self.where} is no Prometheus (status {status} for /api/v1/{what}); give its address "
            "without a path, unless it serves under one"
        )

    def _exchange(self, path: str, body: str) -> tuple[int, bytes]:
        url = self._url
        headers = {"Content-Type": "application/x-www-form-urlencoded", **_credentials(url)}
        connection: http.client.HTTPConnection
        if url.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=_TIMEOUT, context=context)
        else:
            connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=_TIMEOUT)
        try:
            connection.request("POST", url.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            return response.status, response.read(_MAX_ANSWER)
        except TimeoutError as error:
            raise UnknownTrafficError(f"the Prometheus at {self.where} did not answer in {_TIMEOUT:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise UnknownTrafficError(f"no Prometheus answers at {self.where}: {error}") from error
        finally:
            connection.close()


def _credentials(url: SplitResult) -> dict[str, str]:
    if url.username is None:
        return {}
    both = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
    return {"Authorization": f"Basic {base64.b64encode(both).decode()}"}
