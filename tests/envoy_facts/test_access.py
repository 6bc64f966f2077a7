"""Facts of Envoy: what access policies come to before a real application, for requests and for connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from support.access_doors import (
    GROUP,
    access,
    condition,
    doors,
    policy,
    rule,
)
from support.certificates import TestAuthority, client_context, write_workload_directory
from support.envoy import RunningEnvoy, free_port, running_envoy
from support.loopback import Connection, greeting_server
from support.views import ORIGIN, TRUST_DOMAIN, inbound, outbound, sidecar
from weft.mesh.access.access import OPEN, Access
from weft.mesh.access.policy import (
    AccessRule,
    Action,
    Attribute,
    Closed,
    Condition,
)
from weft.mesh.memo import Memo
from weft.mesh.services.service import MutualTlsMode, Protocol
from weft.mesh.signals import AccessLog, FileSink, Signals
from weft.model.document import ObjectKey
from weft.model.telemetry import LOG_DIRECTORY
from weft.testing.polling import eventually
from weft.xds.build import build_xds
from weft.xds.static import static_bootstrap

Change = Callable[[Access], int]


async def test_who_is_refused_is_told_so_and_counted_by_rule(tmp_path: Path) -> None:
    deny = policy(Action.DENY, rule(condition(Attribute.PATH, "/admin", "/private/*")), name="no-admin")
    allow = policy(Action.ALLOW, rule(condition(Attribute.METHOD, "GET")))
    dry = policy(Action.DENY, rule(condition(Attribute.PATH, "/ratings*")), name="try", dry_run=True)
    noted = policy(Action.AUDIT, rule(condition(Attribute.PATH, "/ratings*")), name="note")
    async with doors(tmp_path, {"door": access(deny, allow, dry, noted)}) as here:
        assert await here.status("/") == 200
        refused = await here.ask("/admin?x=1")
        assert (refused.status, refused.body) == (403, b"RBAC: access denied")
        assert [await here.status(path) for path in ("/a/../private/x", "//admin", "/private/%2e/y")] == [403, 403, 403]
        assert await here.status("/", method="POST") == 403
        assert await here.status("/ratings/0") == 200
        assert here.application.requests == 2
        counted = "http.inbound.rbac.{}.policy.AuthorizationPolicy/default/{}/0.{}"
        for mode, name, verdict, times in (
            ("deny", "no-admin", "denied", 4),
            ("allow", "p", "allowed", 2),
            ("dry_run_deny", "try", "shadow_denied", 1),
            ("audit", "note", "allowed", 1),
        ):
            assert await here.envoy.stat(counted.format(mode, name, verdict)) == times


NAMED = "%REQ(:PATH)% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.rbac)%"


async def test_logs_can_name_the_rule_that_decided(tmp_path: Path) -> None:
    deny = policy(Action.DENY, rule(condition(Attribute.PATH, "/a")), name="no.a")
    allow = policy(Action.ALLOW, rule(condition(Attribute.PATH, "/c", "/a")), name="c")
    dry = policy(Action.DENY, rule(condition(Attribute.PATH, "/c")), name="try", dry_run=True)
    shut = Closed(ORIGIN, "for a test", ObjectKey(GROUP, "AuthorizationPolicy", "default", "bad"))
    said = Signals(logs=(AccessLog(FileSink("access.log", NAMED)),))
    asked = {"door": access(deny, allow, dry), "closed": access(closed=(shut,))}
    async with doors(tmp_path, asked, incoming=said) as here:
        for target, at in (("/a", "door"), ("/b", "door"), ("/c", "door"), ("/d", "closed")):
            await here.ask(target, at=at)
        log = tmp_path / LOG_DIRECTORY / "access.log"
        await eventually("all are written", lambda: log.exists() and len(log.read_text().splitlines()) == 4)
        lines = dict(line.split(" ", 1) for line in log.read_text().splitlines())
    details = "rbac_access_denied_matched_policy[{}]"
    rule_id = "AuthorizationPolicy/default/{}/0"
    assert {target: line.partition(" {")[0] for target, line in lines.items()} == {
        "/a": details.format(rule_id.format("no.a")),
        "/b": details.format("none"),
        "/c": "via_upstream",
        "/d": details.format("closed/AuthorizationPolicy/default/bad"),
    }
    noted = {target: json.loads(line.partition(" ")[2]) for target, line in lines.items()}
    assert noted["/a"]["deny_enforced_effective_policy_id"] == rule_id.format("no.a")
    assert noted["/b"]["allow_enforced_engine_result"] == "denied"
    assert noted["/c"]["allow_enforced_effective_policy_id"] == rule_id.format("c")
    assert noted["/c"]["dry_run_deny_shadow_effective_policy_id"] == rule_id.format("try")
    assert noted["/c"]["dry_run_deny_shadow_engine_result"] == "denied"


async def test_identities_are_compared_as_they_are(tmp_path: Path) -> None:
    def allows(attribute: Attribute, *texts: str, negated: bool = False) -> Access:
        return access(policy(Action.ALLOW, rule(source=(condition(attribute, *texts, negated=negated),))))

    who = {
        "page": "cluster.local/ns/default/sa/page",
        "pag": "cluster.local/ns/default/sa/pag",
        "p.ge": "cluster.local/ns/default/sa/p-ge",
        "other": "cluster.local/ns/default-b/sa/page",
        "sa": "cluster.local/ns/sa/sa/page",
        "shop": "cluster.local/ns/my-shop/sa/shop",
    }
    cases = {
        "exact": (allows(Attribute.PRINCIPAL, "cluster.local/ns/default/sa/page"), {"page"}),
        "beginning": (allows(Attribute.PRINCIPAL, "cluster.local/ns/default/*"), {"page", "pag", "p.ge"}),
        "end": (allows(Attribute.PRINCIPAL, "*/sa/page"), {"page", "other", "sa"}),
        "no end in the scheme": (allows(Attribute.PRINCIPAL, "*/cluster.local/ns/default/sa/page"), set()),
        "anybody": (allows(Attribute.PRINCIPAL, "*"), set(who)),
        "none of": (allows(Attribute.PRINCIPAL, "*/sa/page", negated=True), {"pag", "p.ge", "shop"}),
        "namespace": (allows(Attribute.NAMESPACE, "default"), {"page", "pag", "p.ge"}),
        "namespace from": (allows(Attribute.NAMESPACE, "default*"), {"page", "pag", "p.ge", "other"}),
        "namespace to": (allows(Attribute.NAMESPACE, "*-shop"), {"shop"}),
        "namespace to s": (allows(Attribute.NAMESPACE, "*s"), set()),
        "namespace to a": (allows(Attribute.NAMESPACE, "*a"), {"sa"}),
        "account": (allows(Attribute.SERVICE_ACCOUNT, "default/page"), {"page"}),
        "domain": (allows(Attribute.TRUST_DOMAIN, "cluster.local"), set(who)),
        "other domain": (allows(Attribute.TRUST_DOMAIN, "cluster.loca", "cluster"), set()),
    }
    async with doors(tmp_path, {name: each for name, (each, _) in cases.items()}) as here:
        for name, (_, expected) in cases.items():
            let_in = {
                who_calls
                for who_calls, text in who.items()
                if await here.status(at=name, uri=f"spiffe://{text}") == 200
            }
            assert let_in == expected, name


async def test_what_a_caller_without_a_certificate_is(tmp_path: Path) -> None:
    anybody = condition(Attribute.PRINCIPAL, "*")
    nobody = condition(Attribute.NAMESPACE, "other", negated=True)
    asked = {
        "proven": access(policy(Action.ALLOW, rule(source=(anybody,)))),
        "not other": access(policy(Action.ALLOW, rule(source=(nobody,)))),
        "not other is denied": access(policy(Action.DENY, rule(source=(nobody,)))),
    }
    async with doors(tmp_path, asked, mode=MutualTlsMode.PERMISSIVE) as here:
        assert [await here.status(at=name) for name in asked] == [200, 200, 403]
        assert [await here.status(at=name, plain=True) for name in asked] == [403, 200, 403]


async def test_requests_are_compared_after_they_were_made_uniform(tmp_path: Path) -> None:
    def allows(*operation: Condition) -> Access:
        return access(policy(Action.ALLOW, rule(*operation)))

    def path(*texts: str, negated: bool = False) -> Access:
        return allows(condition(Attribute.PATH, *texts, negated=negated))

    def host(*texts: str) -> Access:
        return allows(condition(Attribute.HOST, *texts))

    cases: dict[str, tuple[Access, dict[str, int]]] = {
        "exact": (path("/a.b"), {"/a.b": 200, "/a.b?q": 200, "/acb": 403, "/a.b/": 403, "/A.b": 403, "/x/../a.b": 200}),
        "beginning": (path("/a*"), {"/a": 200, "/ab?/": 200, "/b": 403}),
        "end": (path("*.html"), {"/x.html": 200, "/x.html?a=.txt": 200, "/x?.html": 403, "/xhtml": 403}),
        "any": (path("*"), {"/": 200}),
        "none of": (path("/a", "/b/*", negated=True), {"/a": 403, "/b/c": 403, "/": 200, "/b": 200}),
        "segment": (path("/a/{*}/c"), {"/a/b/c": 200, "/a/x*|y/c": 200, "/a/b/b/c": 403, "/a//c": 403, "/a/b/c/": 403}),
        "anything": (path("/a.b/{**}"), {"/a.b/": 200, "/a.b/c/d*|^": 200, "/a.b": 403, "/acb/": 403}),
        "within": (path("/a/{**}/z"), {"/a/b/c/z": 200, "/a/z": 403, "/a/b/z?x": 200}),
    }
    hosts: dict[str, tuple[Access, dict[str, int]]] = {
        "host": (
            host("shop.example.com"),
            {
                "shop.example.com": 200,
                "SHOP.example.com:81": 200,
                "shop.example.com:": 200,
                "shop.example.com.": 200,
                "shopxexample.com": 403,
                "a.shop.example.com": 403,
                "shop.example.com:x": 403,
                "shop.example.com:80:90": 403,
                "shop.example.com.:80": 200,
                "shop.example.com..": 403,
                ".shop.example.com": 403,
                "x,shop.example.com": 403,
            },
        ),
        "host to": (host("*.example.com"), {"a.example.com": 200, "A.Example.Com:8": 200, "evil:.example.com": 403}),
        "address": (
            host("[2001:db8::1]"),
            {"[2001:db8::1]": 200, "[2001:DB8::1]:81": 200, "[2001:db8::1%1]": 403, "[2001:db8::2]": 403},
        ),
        "host and port": (host("a.example.com:80"), {"a.example.com:80": 200, "a.example.com": 403}),
    }
    asked = {name: each for name, (each, _) in (cases | hosts).items()}
    async with doors(tmp_path, asked) as here:
        for name, (_, expected) in cases.items():
            assert {target: await here.status(target, at=name) for target in expected} == expected, name
        for name, (_, expected) in hosts.items():
            assert {each: await here.status(at=name, host=each) for each in expected} == expected, name


async def test_absent_things_are_never_met_and_always_none_of(tmp_path: Path) -> None:
    def allows(attribute: Attribute, text: str, negated: bool, key: tuple[str, ...] = ()) -> Access:
        return access(policy(Action.ALLOW, rule(when=(condition(attribute, text, negated=negated, key=key),))))

    things: dict[str, tuple[Attribute, tuple[str, ...]]] = {
        "header": (Attribute.HEADER, ("x-user",)),
        "claim": (Attribute.CLAIM, ("realm", "roles")),
        "principal": (Attribute.REQUEST_PRINCIPAL, ()),
        "audience": (Attribute.AUDIENCE, ()),
        "presenter": (Attribute.PRESENTER, ()),
    }
    asked = {
        f"{name} {text} {negated}": allows(attribute, text, negated, key)
        for name, (attribute, key) in things.items()
        for text in ("*", "a/b*")
        for negated in (False, True)
    }
    async with doors(tmp_path, asked) as here:
        for name in asked:
            assert await here.status(at=name) == (200 if name.endswith("True") else 403), name
        assert await here.status("/", "x-user: b", at="header * False") == 200
        assert await here.status("/", "x-user;", "x-user: b", at="header * True") in (400, 403)
        assert await here.status("/", "x-user: a/bc", at="header a/b* False") == 200


async def test_ports_and_addresses(tmp_path: Path) -> None:
    def allows(*operation: Condition, source: tuple[Condition, ...] = ()) -> Access:
        return access(policy(Action.ALLOW, rule(*operation, source=source)))

    cases = {
        "port": (allows(condition(Attribute.PORT, "9080", "1")), 200),
        "other port": (allows(condition(Attribute.PORT, "1")), 403),
        "not that port": (allows(condition(Attribute.PORT, "9080", negated=True)), 403),
        "address": (allows(source=(condition(Attribute.SOURCE_IP, "127.0.0.0/8"),)), 200),
        "other address": (allows(source=(condition(Attribute.SOURCE_IP, "10.0.0.0/8"),)), 403),
        "not that address": (allows(source=(condition(Attribute.SOURCE_IP, "127.0.0.1/32", negated=True),)), 403),
        "to": (allows(condition(Attribute.DESTINATION_IP, "127.0.0.1/32")), 200),
        "nothing": (access(policy(Action.ALLOW)), 403),
        "everything": (access(policy(Action.ALLOW, rule())), 200),
        "deny nothing": (access(policy(Action.DENY)), 200),
        "closed": (access(closed=(Closed(ORIGIN, "for a test"),)), 403),
        "denied before allowed": (access(policy(Action.ALLOW, rule()), policy(Action.DENY, rule(), name="q")), 403),
        "dry run": (access(policy(Action.ALLOW, dry_run=True)), 200),
    }
    async with doors(tmp_path, {name: each for name, (each, _) in cases.items()}) as here:
        for name, (_, expected) in cases.items():
            assert await here.status(at=name) == expected, name


async def test_connections_are_let_in_by_what_they_have(tmp_path: Path) -> None:
    mine = condition(Attribute.NAMESPACE, "default")
    reading = condition(Attribute.METHOD, "GET")
    port = condition(Attribute.PORT, "9080")
    cases = {
        "open": (access(), True, True),
        "mine": (access(policy(Action.ALLOW, rule(source=(mine,)))), True, False),
        "not mine": (access(policy(Action.DENY, rule(source=(mine,)))), False, True),
        "allow by method": (access(policy(Action.ALLOW, rule(reading, source=(mine,)))), False, False),
        "one of two": (
            access(policy(Action.ALLOW, AccessRule(0, ORIGIN, (), ((reading,), (port,))))),
            True,
            True,
        ),
        "deny by method": (access(policy(Action.DENY, rule(reading, source=(mine,)))), False, True),
        "nobody": (access(policy(Action.ALLOW)), False, False),
        "closed": (access(closed=(Closed(ORIGIN, "for a test"),)), False, False),
        "noted": (access(policy(Action.AUDIT, rule())), True, True),
        "dry run": (access(policy(Action.DENY, rule(), dry_run=True)), True, True),
    }
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    asked = {name: each for name, (each, _, _) in cases.items()}
    async with doors(tmp_path, asked, protocol=Protocol.TCP) as here:
        for name, (_, ours, others) in cases.items():
            assert bool(await here.bytes_back(name, sent=request)) is ours, name
            uri = f"spiffe://{TRUST_DOMAIN}/ns/other/sa/productpage"
            assert bool(await here.bytes_back(name, uri, sent=request)) is others, name


@contextlib.asynccontextmanager
async def changing(
    directory: Path, application: int, **port: Any
) -> AsyncIterator[tuple[RunningEnvoy, Change, ssl.SSLContext]]:
    """An Envoy that follows a file of listeners, how to change what is asked there, and what a caller connects with."""
    authority = TestAuthority()
    leaf = authority.issue(uri=f"spiffe://{TRUST_DOMAIN}/ns/default/sa/web")
    write_workload_directory(directory, leaf, authority.bundle)
    listen = free_port()

    def bootstrap(asked: Access) -> dict[str, Any]:
        view = sidecar(outbound(), inbound=(inbound(listen, application, access=asked, **port),), proxy_listen=None)
        found: dict[str, Any] = json.loads(static_bootstrap(build_xds(view, 1, Memo())))
        listeners = found["static_resources"].pop("listeners")
        named = [{"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", **each} for each in listeners]
        new = directory / "new.json"
        new.write_text(json.dumps({"resources": named}))
        new.rename(directory / "listeners.json")
        return found

    source = {"path_config_source": {"path": str(directory / "listeners.json")}, "resource_api_version": "V3"}
    start = bootstrap(OPEN) | {"dynamic_resources": {"lds_config": source}}
    context = client_context(
        authority,
        authority.issue(uri=f"spiffe://{TRUST_DOMAIN}/ns/default/sa/page"),
        directory,
        alpn=("weft-tcp",),
    )
    async with running_envoy(json.dumps(start), directory) as envoy:
        yield envoy, lambda asked: (bootstrap(asked), listen)[1], context


async def test_a_change_ends_connections_that_are_open_and_only_those_of_its_chain(tmp_path: Path) -> None:
    nobody = access(policy(Action.ALLOW))
    async with (
        greeting_server(b"") as application,
        changing(tmp_path, application, protocol=Protocol.TCP) as (envoy, change, context),
    ):
        port = change(OPEN)
        async with Connection(port, context) as before:
            before.writer.write(b"a")
            assert await before.reader.readexactly(1) == b"a"
            change(nobody)
            await eventually("it is taken", lambda: envoy.stat("listener_manager.listener_in_place_updated"))
            with contextlib.suppress(OSError):
                async with Connection(port, context) as after:
                    after.writer.write(b"b")
                    assert await after.reader.read(1) == b""
            assert await asyncio.wait_for(before.reader.read(1), 60) == b""


async def test_who_is_not_let_in_by_name_hears_nothing_of_a_server_that_speaks_first(tmp_path: Path) -> None:
    """Not where only a DENY keeps a caller out: there the verdict falls with the first byte that it sends."""
    mine = condition(Attribute.PRINCIPAL, f"{TRUST_DOMAIN}/ns/default/sa/page")
    asked = {
        "mine": access(policy(Action.ALLOW, rule(source=(mine,)))),
        "my namespace": access(policy(Action.ALLOW, rule(source=(condition(Attribute.NAMESPACE, "default"),)))),
        "nobody": access(policy(Action.ALLOW)),
        "closed": access(closed=(Closed(ORIGIN, "for a test"),)),
        "not by name": access(policy(Action.ALLOW, rule(source=(condition(Attribute.SOURCE_IP, "10.0.0.0/8"),)))),
        "denied": access(policy(Action.DENY, rule(source=(condition(Attribute.NAMESPACE, "default"),)))),
    }
    us, them = (f"spiffe://{TRUST_DOMAIN}/ns/{space}/sa/page" for space in ("default", "other"))
    async with doors(tmp_path, asked, greeting=b"hello", protocol=Protocol.TCP) as here:
        heard = {name: [await here.bytes_back(name, uri, sent=b"") for uri in (us, them)] for name in asked}
    assert heard == {
        "mine": [b"hello", b""],
        "my namespace": [b"hello", b""],
        "nobody": [b"", b""],
        "closed": [b"", b""],
        "not by name": [b"hello", b"hello"],
        "denied": [b"hello", b"hello"],
    }
