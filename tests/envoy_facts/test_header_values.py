"""Facts of Envoy: a header that is sent twice, and policies that look at it."""

from __future__ import annotations

from pathlib import Path

from support.access_doors import access, condition, doors, policy, rule
from weft.mesh.access.call import JOINED, Call, HttpCall
from weft.mesh.access.policy import (
    Action,
    Attribute,
)
from weft.mesh.access.verdict import verdict_on

SENT_TWICE = {
    # what is sent: values ALLOW, notValues ALLOW, values DENY, notValues DENY
    ("reader",): (200, 403, 403, 200),
    ("admin",): (403, 200, 200, 403),
    ("reader", "admin"): (403, 403, 403, 403),
    ("admin", "reader"): (403, 403, 403, 403),
    ("reader", "reader"): (200, 403, 403, 200),
    ("reader", ""): (403, 403, 403, 403),
    ("reader", "writer-1"): (403, 403, 403, 403),
    ("writer-1", "writer-2"): (200, 403, 403, 200),
    ("writer-1", "admin"): (403, 403, 403, 403),
    ("the-cook", "a-cook"): (200, 403, 403, 200),
    ("the-cook", "cook-"): (403, 403, 403, 403),
    ("reader,admin",): (403, 200, 200, 403),
    (): (403, 200, 200, 403),
}


async def test_a_wrong_value_of_a_header_beside_a_right_one_never_helps(tmp_path: Path) -> None:
    asked = {
        f"{action.name} {negated}": access(
            policy(
                action,
                rule(
                    when=(
                        condition(Attribute.HEADER, "reader", "writer-*", "*-cook", negated=negated, key=("x-role",)),
                    )
                ),
            )
        )
        for action in (Action.ALLOW, Action.DENY)
        for negated in (False, True)
    }
    async with doors(tmp_path, asked) as here:
        for values, expected in SENT_TWICE.items():
            headers = [f"x-role: {value}" for value in values]
            found = [await here.status("/", *headers, at=name) for name in asked]
            assert tuple(found) == expected, values
            call = HttpCall(headers={"x-role": values})
            told = [verdict_on(each, Call(port=9080, http=call)).allowed for each in asked.values()]
            assert told == [status == 200 for status in expected], values


async def test_headers_that_a_proxy_holds_as_one(tmp_path: Path) -> None:
    """It says so of these, and of no other that applications look at."""
    others = {"x-role", "accept-language", "forwarded", "traceparent", "date", "range", "x-real-ip", "x-csrf-token"}
    # removed or written by the proxy, or a request with two of them is none
    written = {"x-request-id", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-forwarded-for", "via"}
    names = sorted((JOINED | others) - written)
    asked = {
        name: access(policy(Action.ALLOW, rule(when=(condition(Attribute.HEADER, "a,a", key=(name,)),))))
        for name in names
    }
    async with doors(tmp_path, asked) as here:
        found = {name for name in names if await here.status("/", f"{name}: a", f"{name}: a", at=name) == 200}
    assert found == JOINED - written
