"""What Envoy makes of paths before policies see them, against our own reading of it."""

from __future__ import annotations

import random
from pathlib import Path

from support.certificates import client_context
from support.loopback import Connection, echo_server
from support.proxy import calling_itself, running_pair
from support.views import identity
from weft.mesh.access.paths import normalised_path

SPELLINGS = (
    "/", "/a", "/a/", "//a", "/a//b///c", "/./a", "/a/.", "/a/./", "/a/..", "/a/../", "/../a", "/a/../../b", "/a/...",
    "/a/.b", "/%2e/a", "/%2E%2e/a", "/a/%2e%2e/b", "/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "\\a", "/\\a", "/a%00b",
    "/a%20b", "/%61dmin", "/%41", "/a%7eb", "/a%2Db", "/a%c3%a9", "/a%C3%A9", "/a%2", "/a%", "/a%zz", "/a;x=1",
    "/a;/../b", "/a?x=/../y", "/a#b", "/a%23b", "/a%3fb", "/a.", "/a..", "/a%252e", "/a+b", "/a*b", "/a|b", "/a^b",
    "/a[b]", "/a{b}", "/a<b>", '/a"b', "/a`b", "/a'b", "/a@b:c", "/~a", "/a$&b!", "/a=,b", "/%25", "/a/%2e%2e", "/..",
    "/.", "/a/b/../../..", "//..//a", "/%7Fx", "/A/B", "/a//..//b", "/..//", "/a/b/..//c", "/%2e%2e%2e", "/a/..;x/b",
    "/a/%2e%2e;x/b", "/a/.%2e;/b",
)  # fmt: skip
PIECES = ("/", "//", ".", "..", "%2e", "%2E", "%61", "a", "B", "%c3%a9", ";", "\\", "%41", "%7e", "%", "%5f", "*", "+")


async def test_a_path_is_what_we_say_it_is(tmp_path: Path) -> None:
    dice = random.Random(10)
    made = ["/" + "".join(dice.choice(PIECES) for _ in range(dice.randint(1, 7))) for _ in range(1500)]
    differences = []
    async with echo_server("app") as application, running_pair(calling_itself(application.port), tmp_path) as pair:
        caller = client_context(pair.authority, pair.authority.issue(uri=str(identity("caller"))), tmp_path)
        client = await Connection(pair.inbound, caller).__aenter__()
        for target in (*SPELLINGS, *made):
            answer = await client.request(target, "reviews")
            seen = answer.json()["path"].partition("?")[0] if answer.status == 200 else None
            if seen != normalised_path(target):
                differences.append(f"{target}: Envoy {seen!r} ({answer.status}), ours {normalised_path(target)!r}")
            if answer.headers.get("connection") == "close":
                await client.__aexit__(None, None, None)
                client = await Connection(pair.inbound, caller).__aenter__()
        await client.__aexit__(None, None, None)
    assert not differences, "\n".join(differences)
