"""The demo services, each a real process or server, without a mesh."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from weft.bookinfo import details, productpage, ratings, reviews
from weft.bookinfo.client import ServiceClient, forwarded
from weft.bookinfo.server import Request, Response, Server, with_health

Start = Callable[[Callable[[Request], Response]], Server]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    servers: list[Server] = []

    def run(handle: Callable[[Request], Response]) -> Server:
        server = Server(with_health(handle, "it"), "127.0.0.1", 0)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    yield run
    for server in servers:
        server.stop()


Connect = Callable[[str, int], ServiceClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    clients: list[ServiceClient] = []

    def make(host: str, port: int) -> ServiceClient:
        clients.append(ServiceClient(host, port))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def get(server: Server, path: str, headers: dict[str, str] | None = None) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def whole(start: Start, connect: Connect, version: str) -> Server:
    rating = start(ratings.build_handle())
    review = start(reviews.build_handle(version, connect("127.0.0.1", rating.port)))
    detail = start(details.respond)
    clients = (connect("127.0.0.1", server.port) for server in (detail, review, rating))
    return start(productpage.build_handle(productpage.Services(*clients)))


@pytest.mark.parametrize(("version", "stars"), [("v1", ""), ("v2", "stars black"), ("v3", "stars red")])
def test_page_shows_the_version_that_served_it(start: Start, connect: Connect, version: str, stars: str) -> None:
    status, text, _ = get(whole(start, connect, version), "/productpage")
    assert status == 200
    assert f"Reviews served by: <b>reviews-{version}</b>" in text
    assert f'data-version="{version}"' in text
    assert "William Shakespeare" in text
    assert set(re.findall(r'class="(stars \w+)"', text)) == ({stars} if stars else set())


def test_json_has_the_shapes_of_the_public_application(start: Start, connect: Connect) -> None:
    page = whole(start, connect, "v2")
    products = json.loads(get(page, "/api/v1/products")[1])
    assert [product["id"] for product in products] == [0]
    assert set(json.loads(get(page, "/api/v1/products/0")[1])) == {
        *("id", "author", "year", "type", "pages", "publisher", "language", "ISBN-10", "ISBN-13")
    }
    answer = json.loads(get(page, "/api/v1/products/0/reviews")[1])
    assert {key: answer[key] for key in ("id", "podname", "clustername")} == {
        "id": "0",
        "podname": "reviews-v2",
        "clustername": "null",
    }
    assert [review["rating"] for review in answer["reviews"]] == [
        {"stars": 5, "color": "black"},
        {"stars": 4, "color": "black"},
    ]
    assert json.loads(get(page, "/api/v1/products/0/ratings")[1])["ratings"] == {"Reviewer1": 5, "Reviewer2": 4}
    assert get(page, "/api/v1/products/none")[0] == 404


def test_signing_in_sends_the_user_to_every_service(start: Start, connect: Connect) -> None:
    seen: list[str] = []

    def record(request: Request) -> Response:
        seen.append(request.headers.get("end-user", ""))
        return ratings.build_handle()(request)

    rating = start(record)
    review = start(reviews.build_handle("v3", connect("127.0.0.1", rating.port)))
    clients = [connect("127.0.0.1", server.port) for server in (start(details.respond), review, rating)]
    page = start(productpage.build_handle(productpage.Services(*clients)))
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    connection.request("POST", "/login", body="username=jason&passwd=")
    response = connection.getresponse()
    response.read()
    assert (response.status, response.getheader("location")) == (302, "/productpage")
    cookie = (response.getheader("set-cookie") or "").partition(";")[0]
    connection.request("GET", "/productpage", headers={"cookie": cookie})
    assert "jason" in connection.getresponse().read().decode()
    connection.close()
    get(page, "/productpage")
    assert seen == ["jason", ""]


def test_a_user_name_cannot_carry_markup_or_line_breaks(start: Start, connect: Connect) -> None:
    page = whole(start, connect, "v1")
    for name in ("<script>", "a%0d%0aset-cookie:x", ""):
        connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
        connection.request("POST", "/login", body=f"username={name}")
        response = connection.getresponse()
        assert (response.status, response.getheader("set-cookie")) == (400, None)
        connection.close()
    assert "<script>" not in get(page, "/productpage", {"cookie": 'user="<script>"'})[1]


def test_a_missing_service_leaves_the_rest_of_the_page(start: Start, connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    detail = start(details.respond)
    nobody = connect("127.0.0.1", closed)
    page = start(productpage.build_handle(productpage.Services(connect("127.0.0.1", detail.port), nobody, nobody)))
    status, text, _ = get(page, "/productpage")
    assert status == 200
    assert "Error fetching reviews!" in text
    assert "William Shakespeare" in text


def test_reviews_say_when_ratings_are_gone(start: Start, connect: Connect) -> None:
    broken = start(lambda request: Response(503))
    review = start(reviews.build_handle("v2", connect("127.0.0.1", broken.port)))
    answer = json.loads(get(review, "/reviews/0")[1])
    assert answer["reviews"][0]["rating"] == {"error": "Ratings service is currently unavailable"}


def test_ratings_can_be_changed_and_refuse_nonsense(start: Start, connect: Connect) -> None:
    server = start(ratings.build_handle())
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("POST", "/ratings/7", body=iter([b'{"Reviewer1"', b": 2}"]), encode_chunked=True)
    assert json.loads(connection.getresponse().read()) == {"id": 7, "ratings": {"Reviewer1": 2}}
    connection.request("POST", "/ratings/7", body=b'{"Reviewer1": 6}')
    response = connection.getresponse()
    response.read()
    assert response.status == 400
    connection.request("GET", "/ratings/7")
    assert json.loads(connection.getresponse().read())["ratings"] == {"Reviewer1": 2}
    connection.close()


def test_calls_go_through_the_proxy_over_one_connection(
    start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []

    def proxy(request: Request) -> Response:
        seen.append((request.path, request.headers["host"]))
        return Response(200, b"{}")

    server = start(proxy)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    client = connect("details", 9080)
    for _ in range(3):
        assert client.get("/details/0", {"end-user": "jason"}, 5).status == 200
    assert seen == [("http://details:9080/details/0", "details:9080")] * 3


def test_what_the_proxys_address_has_before_the_at_sign_is_its_credential(
    start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def proxy(request: Request) -> Response:
        seen.append(request.headers["proxy-authorization"])
        return Response(200, b"{}")

    monkeypatch.setenv("http_proxy", f"http://weft:hush@127.0.0.1:{start(proxy).port}")
    assert connect("details", 9080).get("/details/0", {}, 5).status == 200
    assert seen == ["Basic d2VmdDpodXNo"]


def test_a_kept_connection_that_was_closed_is_replaced(start: Start, connect: Connect) -> None:
    first = start(lambda request: Response(200, b"{}"))
    client = connect("127.0.0.1", first.port)
    assert client.get("/", {}, 5).status == 200
    connection = client._idle[0]
    assert connection.sock is not None
    connection.sock.shutdown(socket.SHUT_RDWR)
    assert client.get("/", {}, 5).status == 200


def test_only_known_headers_are_handed_on() -> None:
    assert forwarded({"x-request-id": "1", "end-user": "jason", "x-other": "2"}) == {
        "x-request-id": "1",
        "end-user": "jason",
    }


@pytest.mark.parametrize("service", ["details", "ratings", "reviews", "productpage"])
def test_each_service_is_a_program_that_stops_in_order(service: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", f"weft.bookinfo.{service}", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "WEFT_HOST": "127.0.0.1"},
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/health")
        assert "is healthy" in connection.getresponse().read().decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        connection.close()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_a_request_in_flight_is_finished_before_the_server_stops(start: Start, connect: Connect) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(request: Request) -> Response:
        entered.set()
        release.wait(10)
        return Response(200, b"done")

    server = start(slow)
    result: list[tuple[int, str, http.client.HTTPMessage]] = []
    caller = threading.Thread(target=lambda: result.append(get(server, "/slow")))
    caller.start()
    assert entered.wait(10)
    stopper = threading.Thread(target=server.stop)
    stopper.start()
    while not server.stopping:
        pass
    release.set()
    caller.join(10)
    stopper.join(10)
    status, text, headers = result[0]
    assert (status, text, headers["connection"]) == (200, "done", "close")
