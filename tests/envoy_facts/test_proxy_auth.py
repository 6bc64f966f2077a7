"""Facts of Envoy: an outbound proxy that wants a credential, of absolute-form requests and of CONNECT."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from support.loopback import Connection, echo_server
from support.proxy import calling_itself, running_pair
from weft.model.workload import PROXY_USERS_FILE

SECRET = "hush-hush"


def credential(user: str = "weft", secret: str = SECRET) -> str:
    return "Proxy-Authorization: Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


def write_users(directory: Path) -> None:
    digest = base64.b64encode(hashlib.sha1(SECRET.encode(), usedforsecurity=False).digest()).decode()
    (directory / PROXY_USERS_FILE).write_text(f"weft:{{SHA}}{digest}\n")


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (credential(secret="wrong"),),
        (credential(user="other"),),
        ("Proxy-Authorization: Bearer hush-hush",),
        ("Proxy-Authorization: Basic x",),
        (credential().replace("Proxy-", ""),),
        (credential(secret="wrong"), credential()),
    ],
)
async def test_without_the_workloads_credential_nothing_goes_out(headers: tuple[str, ...], tmp_path: Path) -> None:
    write_users(tmp_path)
    async with echo_server("reviews") as application:
        view = replace(calling_itself(application.port), secret=True)
        async with running_pair(view, tmp_path) as pair:
            async with Connection(pair.proxy) as client:
                answer = await client.request("http://reviews:9080/", "reviews:9080", *headers)
                assert (answer.status, answer.headers["proxy-authenticate"]) == (407, 'Basic realm="weft"')
                assert b"does not have its credential" in answer.body
            async with Connection(pair.proxy) as client:
                refused = await client.request("reviews:9080", "reviews:9080", *headers, method="CONNECT")
                assert refused.status == 407
        assert application.requests == 0


async def test_with_it_requests_and_tunnels_go_out_and_it_stays_behind(tmp_path: Path) -> None:
    write_users(tmp_path)
    async with echo_server("reviews") as application:
        view = replace(calling_itself(application.port), secret=True)
        async with running_pair(view, tmp_path) as pair:
            async with Connection(pair.proxy) as client:
                said = ("authorization: Basic of-the-application", credential())
                answer = await client.request("http://reviews:9080/", "reviews:9080", *said)
                assert answer.status == 200
                assert answer.json()["headers"]["authorization"] == "Basic of-the-application"
                assert "proxy-authorization" not in answer.json()["headers"]
            async with Connection(pair.proxy) as client:
                opened = await client.request("reviews:9080", "reviews:9080", credential(), method="CONNECT")
                assert opened.status == 200
                inside = await client.request("/", "reviews:9080")
                assert inside.status == 200
                assert "proxy-authorization" not in inside.json()["headers"]


async def test_a_credential_that_nobody_asked_for_stays_behind_too(tmp_path: Path) -> None:
    async with (
        echo_server("reviews") as application,
        running_pair(calling_itself(application.port), tmp_path) as pair,
        Connection(pair.proxy) as client,
    ):
        answer = await client.request("http://reviews:9080/", "reviews:9080", credential())
        assert "proxy-authorization" not in answer.json()["headers"]
