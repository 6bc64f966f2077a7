"""The parts of ./run bench that a wrong figure could come from: load generator, answers, ratios, report."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.figures import Series, ratio, series  # noqa: E402
from bench.load import END, Connections, LoadError, build_request, run_closed, run_open  # noqa: E402
from bench.propagation import read_answer  # noqa: E402
from bench.report import render_report, to_plain, write_report  # noqa: E402

GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(END), END)


@contextmanager
def serving(answer: bytes, split: int = 0) -> Iterator[tuple[tuple[str, int], list[int]]]:
    """A server that gives one answer to each request, in two pieces with `split`; its address and its count."""
    count = [0]
    listener = socket.create_server(("127.0.0.1", 0))
    open_sockets: list[socket.socket] = []

    def serve_one(connection: socket.socket) -> None:
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                while connection.recv(65536):
                    count[0] += 1
                    connection.sendall(answer[: split or len(answer)])
                    if split:
                        threading.Event().wait(0.002)
                        connection.sendall(answer[split:])
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_sockets.append(connection)
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        host, port = listener.getsockname()
        yield (host, port), count
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@pytest.mark.parametrize("split", [0, 30])
def test_closed_loop_counts_every_answer(split: int) -> None:
    with serving(GOOD, split) as (address, count):
        connections = Connections(address, build_request("echo", "/"), 3)
        result = run_closed(connections, 0.2)
        connections.close()
    assert result.requests > 10
    assert count[0] - 3 <= result.requests <= count[0]
    assert result.p50 <= result.p99 <= result.worst


def test_open_loop_keeps_its_rate_and_counts_waiting() -> None:
    with serving(GOOD, 30) as (address, count):
        plenty = Connections(address, build_request("echo", "/"), 16)
        easy = run_open(plenty, 0.5, 200.0)
        plenty.close()
        assert easy.requests == count[0] == 100
        assert 20 < easy.rate < 240
        single = Connections(address, build_request("echo", "/"), 1)
        hard = run_open(single, 0.2, 2000.0)
        single.close()
    assert hard.requests == 400
    assert hard.queued > 200
    assert hard.worst > 0.2, "the time a request waits for a connection must count"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", b"nonsense"])
def test_a_wrong_answer_is_no_figure(answer: bytes) -> None:
    with serving(answer) as (address, _):
        connections = Connections(address, build_request("echo", "/"), 1)
        with pytest.raises(LoadError, match="the target answered"):
            run_closed(connections, 0.2)
        connections.close()


def test_generator_as_a_process() -> None:
    with serving(GOOD) as ((host, port), _):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "bench.load",
                "--address",
                f"{host}:{port}",
                "--host",
                "echo",
                "--path",
                "/",
                "--connections",
                "2",
                "--seconds",
                "0.1",
                "--rate",
                "100",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    assert json.loads(done.stdout)["requests"] == 10


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<<12>>", 12),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<<12", None),
        (b"HTTP/1.1 200 OK\r\ncontent-le", None),
        (b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno", -1),
        (b"HTTP/1.1 404 No\r\n\r\n", -1),
    ],
)
def test_read_answer(data: bytes, number: int | None) -> None:
    assert read_answer(data) == number


def test_ratios_are_taken_within_a_round() -> None:
    assert ratio([(2, 1), (30, 10), (4, 1)]) == Series(3, 2, 4)
    assert series([5, 1, 3]) == Series(3, 1, 5)


def test_report_has_every_figure_and_says_what_failed(tmp_path: Path) -> None:
    report = {
        "weft": "1.2.3",
        "date": "2026-01-02",
        "quick": True,
        "seconds": 12.0,
        "machine": {"cores": 2},
        "sections": {
            "data path": {
                "rate": 1000.0,
                "arms": {"a": {"p50_us": Series(1234.5, 1.0, 9.0)}, "b": {"p50_us": Series(2.0, 1.0, 3.0)}},
                "weft_to_minimal": {"cpu": Series(1.04, 1.0, 1.1)},
            },
            "demo": {"error": "no demo"},
        },
    }
    as_json, as_text = write_report(report, tmp_path, "x")
    text = as_text.read_text()
    assert "| p50 us | 1,234 (1 to 9) | 2 (1 to 3) |" in text
    assert "| weft to minimal: cpu | 1.04 (1 to 1.1) |" in text
    assert "This part failed: no demo" in text
    assert json.loads(as_json.read_text()) == to_plain(report)
    assert render_report(to_plain(report)) == text
