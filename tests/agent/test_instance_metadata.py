"""Instance metadata: region and zone from a server in the shape of AWS', by its token, and what happens without."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from weft.agent.instance_metadata import aws_locality
from weft.model.locality import NOWHERE, Locality


class Metadata(BaseHTTPRequestHandler):
    """Version 2: nothing without a token."""

    said: dict[str, str]
    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, text: str = "") -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_PUT(self) -> None:
        good = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "60"
        self._answer(200 if good else 400, "AQAEA-token" if good else "")

    def do_GET(self) -> None:
        if self.headers["X-aws-ec2-metadata-token"] != "AQAEA-token":
            self._answer(401)
            return
        text = self.said.get(self.path.removeprefix("/latest/meta-data/placement/"))
        self._answer(404 if text is None else 200, text or "")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def metadata() -> Iterator[tuple[str, dict[str, str]]]:
    said = {"region": "eu-west-1", "availability-zone": "eu-west-1a"}
    server = HTTPServer(("127.0.0.1", 0), type("Served", (Metadata,), {"said": said}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", said
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_host_learns_where_it_is(metadata: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata[0])
    assert aws_locality() == Locality("eu-west-1", "eu-west-1a")


@pytest.mark.parametrize(
    ("said", "tells"),
    [
        ({"region": "eu-west-1"}, "availability-zone answers 404"),
        ({"region": "<html>", "availability-zone": "x"}, "says no region and zone"),
        ({"region": "x" * 300, "availability-zone": "x"}, "region answers 200"),
    ],
)
def test_traffic_does_not_wait_for_it(
    metadata: tuple[str, dict[str, str]], said: dict[str, str], tells: str, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint, known = metadata
    known.clear()
    known.update(said)
    with caplog.at_level(logging.WARNING):
        assert aws_locality(endpoint, pause=0.0) == NOWHERE
    assert tells in caplog.text


def test_an_address_that_is_none_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert aws_locality("file:///etc/passwd", pause=0.0) == NOWHERE
    assert "is no http URL" in caplog.text
