"""A small HTTP/1.1 load generator: one process, one thread, keep-alive connections, no pipelining.

Two ways to send: `open` keeps a fixed rate whatever the answers do, and measures each latency from the moment the
request was due; `closed` sends the next request of a connection when its answer is complete, for the highest rate.
It reads no more of an answer than it must: status line, and the body's last bytes, which the backend makes unique.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import select
import socket
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

END = b"-weft-bench-end"
"""Last bytes of every answer's body."""
OK = b"HTTP/1.1 200"
PATIENCE = 10.0
"""Seconds without any answer after which the target counts as stuck."""
PR_SET_TIMERSLACK = 29


class LoadError(Exception):
    """The target did not answer as it has to; the message says what came."""


@dataclass(frozen=True)
class Result:
    """What one run gives; seconds unless said otherwise."""

    requests: int
    seconds: float
    rate: float
    p50: float
    p90: float
    p99: float
    p999: float
    worst: float
    queued: int
    """Requests that were due when no connection was free."""
    generator_cpu: float
    """CPU time of this process per request."""


def percentile(ordered: list[float], share: float) -> float:
    """Nearest-rank percentile of an ordered list."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summarise(latencies: list[float], seconds: float, queued: int, cpu: float) -> Result:
    """One result from all latencies."""
    if not latencies:
        raise LoadError("no request was answered")
    ordered = sorted(latencies)
    return Result(
        requests=len(ordered),
        seconds=seconds,
        rate=len(ordered) / seconds,
        p50=percentile(ordered, 0.50),
        p90=percentile(ordered, 0.90),
        p99=percentile(ordered, 0.99),
        p999=percentile(ordered, 0.999),
        worst=ordered[-1],
        queued=queued,
        generator_cpu=cpu / len(ordered),
    )


class Connections:
    """Keep-alive connections that each carry one request at a time."""

    def __init__(self, address: tuple[str, int], request: bytes, count: int) -> None:
        self.request = request
        self.sockets = [socket.create_connection(address, timeout=PATIENCE) for _ in range(count)]
        self.partial: dict[socket.socket, bytes] = {}
        for connection in self.sockets:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)

    def answered(self, connection: socket.socket) -> bool:
        """Read what has come; whether the answer is complete now."""
        data = connection.recv(65536)
        if not data:
            raise LoadError("the target closed a connection")
        if self.partial and connection in self.partial:
            data = self.partial.pop(connection) + data
        if not data.startswith(OK):
            raise LoadError(f"the target answered {data[:200]!r}")
        if data.endswith(END):
            return True
        self.partial[connection] = data
        return False

    def close(self) -> None:
        """Close all of them."""
        for connection in self.sockets:
            connection.close()


def run_closed(connections: Connections, seconds: float) -> Result:
    """As many requests as the target answers."""
    latencies: list[float] = []
    record, clock = latencies.append, time.perf_counter
    poller = select.epoll()
    by_number = {connection.fileno(): connection for connection in connections.sockets}
    sent: dict[int, float] = {}
    cpu = time.process_time()
    started = clock()
    for number, connection in by_number.items():
        poller.register(number, select.EPOLLIN)
        connection.send(connections.request)
        sent[number] = clock()
    end = started + seconds
    now = started
    while now < end:
        events = poller.poll(PATIENCE)
        if not events:
            raise LoadError(f"no answer within {PATIENCE:g} s")
        for number, _ in events:
            connection = by_number[number]
            if connections.answered(connection):
                now = clock()
                record(now - sent[number])
                sent[number] = now
                connection.send(connections.request)
    poller.close()
    return summarise(latencies, now - started, 0, time.process_time() - cpu)


def run_open(connections: Connections, seconds: float, rate: float) -> Result:
    """Requests at a fixed rate; a request that finds no free connection waits, and its waiting counts."""
    latencies: list[float] = []
    free = deque(connections.sockets)
    waiting: deque[float] = deque()
    due: dict[socket.socket, float] = {}
    queued, number, clock = 0, 0, time.perf_counter
    total = int(rate * seconds)
    cpu = time.process_time()
    started = clock()
    last_answer = started
    while len(latencies) < total:
        now = clock()
        while number < total and started + number / rate <= now:
            moment = started + number / rate
            number += 1
            if free:
                connection = free.popleft()
                due[connection] = moment
                connection.send(connections.request)
            else:
                queued += 1
                waiting.append(moment)
        pause = max(0.0, started + number / rate - clock()) if number < total else 1.0
        for connection in select.select(connections.sockets, (), (), pause)[0]:
            if connections.answered(connection):
                last_answer = clock()
                latencies.append(last_answer - due[connection])
                if waiting:
                    due[connection] = waiting.popleft()
                    connection.send(connections.request)
                else:
                    free.append(connection)
        if due and clock() - last_answer > PATIENCE:
            raise LoadError(f"no answer within {PATIENCE:g} s")
    return summarise(latencies, clock() - started, queued, time.process_time() - cpu)


def build_request(target: str, path: str) -> bytes:
    """A request as a service's HTTP client sends it; absolute-form if `path` is a URL."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: weft-bench\r\nAccept: */*\r\n"
        "Accept-Encoding: gzip, deflate\r\nX-Session: 4f2b8a1c9d3e\r\n\r\n"
    ).encode()


def main() -> None:
    """Run once as a process of its own and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="HOST:PORT to connect to")
    parser.add_argument("--host", required=True, help="Host header")
    parser.add_argument("--path", required=True, help="path or absolute URL")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=0.0, help="requests per second; 0 for as many as possible")
    parser.add_argument("--core", type=int, default=-1)
    arguments = parser.parse_args()
    if arguments.core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {arguments.core})
    if Path("/proc/self/timerslack_ns").exists():
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    host, _, port = arguments.address.rpartition(":")
    request = build_request(arguments.host, arguments.path)
    connections = Connections((host, int(port)), request, arguments.connections)
    gc.disable()
    try:
        if arguments.rate:
            result = run_open(connections, arguments.seconds, arguments.rate)
        else:
            result = run_closed(connections, arguments.seconds)
    finally:
        connections.close()
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
