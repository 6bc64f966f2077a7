"""Facts of Envoy about access logs: which formats and filters it takes, what hostile clients can write into them, and
where they go."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog as EnvoyLog
from google.protobuf.json_format import MessageToDict

from support.access_logs import EXPRESSIONS, FORMATS, REFUSED_EXPRESSIONS, REFUSED_FORMATS, STRANGE_EXPRESSIONS
from support.envoy import free_port, validate
from support.http2 import ask_with
from support.log_collector import log_collector
from support.loopback import Connection, echo_server, greeting_server
from support.proxy import calling_itself, running_pair, running_view
from support.signals import REPORTER, with_signals
from support.views import HOST, backend, gateway, gateway_port, prefix, rule, upstream_port, virtual_host
from weft.mesh.routes.rules import Fault, Respond
from weft.mesh.services.service import Protocol
from weft.mesh.signals import AccessLog, Collector, FileSink, GrpcSink, Metrics, OtlpSink, Signals
from weft.model.telemetry import LOG_DIRECTORY
from weft.schema.log_format import OPERATORS, LogFormatError, check_format
from weft.testing import eventually
from weft.xds.signals.access_logs import http_access_log

HTTP = "type.googleapis.com/envoy.extensions.filters"
CODE = "%RESPONSE_CODE% %REQ(:PATH)%"


def judged(logs: Iterable[EnvoyLog], directory: Path) -> str:
    """What Envoy says of a listener with these loggers."""
    (directory / LOG_DIRECTORY).mkdir(exist_ok=True)
    manager = {
        "@type": f"{HTTP}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{HTTP}.http.router.v3.Router"},
            }
        ],
        "access_log": [MessageToDict(log, preserving_proto_field_name=True) for log in logs],
    }
    listener: dict[str, Any] = {
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return validate(json.dumps({"static_resources": {"listeners": [listener]}}), directory)


def logger(sink: FileSink, **changes: Any) -> EnvoyLog:
    """The logger of a line."""
    found = http_access_log(AccessLog(sink, **changes), None)
    assert found is not None
    return found


def test_envoy_takes_what_the_decoder_takes(tmp_path: Path) -> None:
    filtered = [logger(FileSink("a.log", "x"), filter=text) for text in (*EXPRESSIONS, *STRANGE_EXPRESSIONS)]
    formatted = [logger(FileSink("a.log", text)) for text in FORMATS]
    as_json = [logger(FileSink("a.log", json.dumps({"a": {"b": text}}), json=True)) for text in FORMATS]
    alone = [logger(FileSink("a.log", f"%{name}%")) for name in sorted(OPERATORS) if taken(f"%{name}%")]
    assert len(alone) > 100
    defaults = [logger(FileSink("a.log")), logger(FileSink("a.log", json=True), sampling=10.0)]
    assert judged((*filtered, *formatted, *as_json, *alone, *defaults), tmp_path) == ""


@pytest.mark.parametrize("text", REFUSED_EXPRESSIONS)
def test_envoy_refuses_expressions_that_the_decoder_refuses(text: str, tmp_path: Path) -> None:
    assert judged([logger(FileSink("a.log", "x"), filter=text)], tmp_path)


@pytest.mark.parametrize("text", REFUSED_FORMATS)
def test_envoy_refuses_formats_that_the_decoder_refuses(text: str, tmp_path: Path) -> None:
    assert judged([logger(FileSink("a.log", text))], tmp_path)


def taken(text: str) -> bool:
    """Whether the decoder takes a format."""
    try:
        check_format(text)
    except LogFormatError:
        return False
    return True


def lines(directory: Path, name: str) -> list[str]:
    """The lines of a log file."""
    path = directory / LOG_DIRECTORY / name
    return path.read_bytes().decode("utf-8", "surrogateescape").splitlines() if path.exists() else []


async def test_hostile_headers_forge_no_line(tmp_path: Path) -> None:
    text, as_json = FileSink("text.log"), FileSink("json.log", json=True)
    logs = tuple(AccessLog(sink) for sink in (text, as_json))
    hostile = ('a" 200 - "b', "a\x1b[31mred", "a\x07b", "a\rb", "a\tb", "a\u202eb\u00e9", "x" * 50_000)
    async with echo_server("reviews") as application:
        view = with_signals(calling_itself(application.port), Signals(logs=logs))
        view = replace(view, incoming=Signals())
        async with running_pair(view, tmp_path) as pair:
            for value in hostile:
                async with Connection(pair.proxy) as client:
                    await client.request("http://reviews:9080/", "reviews:9080", f"user-agent: {value}")
            async with Connection(pair.proxy) as client:
                await client.request('http://reviews:9080/a"b', "reviews:9080")
            count = len(hostile) + 1
            await eventually(
                "the lines are written",
                lambda: len(lines(tmp_path, "json.log")) >= count and len(lines(tmp_path, "text.log")) >= count,
            )
    told = [json.loads(line) for line in lines(tmp_path, "json.log")]
    assert len(told) == count, "each request is one line, whatever is in it"
    assert told[0]["user_agent"] == hostile[0]
    assert [each["response_code"] for each in told[1:3]] == [400, 400], "control characters are refused"
    assert told[3]["user_agent"] == "ab", "a lone carriage return is taken out"
    assert len(told[6]["user_agent"]) == 4096
    assert told[7]["path"] == "/a%22b", "paths are normalised"
    written = lines(tmp_path, "text.log")
    assert len(written) == count
    assert not [line for line in written if "\x1b" in line or "\x07" in line or "\r" in line]
    assert '"a" 200 - "b"' in written[0], "in text, quotes are not escaped: programs should read JSON"
    assert max(map(len, written)) < 5000


@pytest.mark.parametrize("value", [b"a\nb", b"a\r\nb", b"a\0b", b"a\x1b[31mb"])
async def test_over_http2_control_characters_are_refused(value: bytes, tmp_path: Path) -> None:
    port, log = free_port(), AccessLog(FileSink("all.log", "%REQ(USER-AGENT)% %RESPONSE_CODE%"))
    hosts = (virtual_host([rule(Respond(200))], domains=("*",)),)
    view = gateway(gateway_port(port, hosts), signals=Signals(logs=(log,)))
    async with running_view(view, tmp_path):
        await ask_with(port, "shop", "/", "user-agent", value)
        await ask_with(port, "shop", "/", "user-agent", b"honest")
        await eventually("the honest line is written", lambda: "honest 200" in lines(tmp_path, "all.log"))
    assert lines(tmp_path, "all.log") == ["- 0", "honest 200"], "nothing of the header is there"


async def test_what_failed_is_written_whatever_the_sampling(tmp_path: Path) -> None:
    log = AccessLog(FileSink("some.log", CODE), sampling=0.0)
    rules = [
        rule(Respond(503), prefix("/failed")),
        rule(Respond(404), prefix("/missing")),
        rule(match=prefix("/grpc"), fault=Fault(abort_grpc=7)),
        rule(match=prefix("/")),
    ]
    async with echo_server("reviews") as application:
        view = replace(with_signals(calling_itself(application.port, rules), Signals(logs=(log,))), incoming=Signals())
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            grpc = "content-type: application/grpc"
            for path, *headers in (("/ok",), ("/missing",), ("/failed",), ("/grpc", grpc), ("/ok-grpc", grpc)):
                await client.request(f"http://reviews:9080{path}", "reviews:9080", *headers)
            await eventually("the lines are written", lambda: len(lines(tmp_path, "some.log")) >= 2)
    assert lines(tmp_path, "some.log")[0] == "503 /failed"
    assert lines(tmp_path, "some.log")[1].endswith("/grpc")


async def test_routes_turn_lines_on_and_off(tmp_path: Path) -> None:
    logs = (
        AccessLog(FileSink("all.log", CODE), off_by_route=True, on_by_route=True),
        AccessLog(FileSink("some.log", CODE), sampling=0.0, off_by_route=True, on_by_route=True),
        AccessLog(FileSink("asked.log", CODE), by_default=False, on_by_route=True),
        AccessLog(FileSink("errors.log", CODE), filter="response.code >= 400"),
    )
    rules = [
        rule(Respond(200), prefix("/off"), access_log="off"),
        rule(Respond(200), prefix("/on"), access_log="on"),
        rule(Respond(400), prefix("/bad")),
        rule(Respond(200), prefix("/plain")),
    ]
    view = replace(with_signals(calling_itself(1, rules), Signals(logs=logs)), incoming=Signals())
    async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
        for path in ("/off", "/on", "/plain", "/bad", "/nothing"):
            await client.request(f"http://reviews:9080{path}", "reviews:9080")
        await eventually(
            "the lines are written",
            lambda: len(lines(tmp_path, "all.log")) >= 4 and len(lines(tmp_path, "errors.log")) >= 2,
        )
    assert lines(tmp_path, "all.log") == ["200 /on", "200 /plain", "400 /bad", "404 /nothing"]
    assert [line for line in lines(tmp_path, "some.log") if line.startswith("2")] == ["200 /on"]
    assert lines(tmp_path, "asked.log") == ["200 /on"]
    assert lines(tmp_path, "errors.log") == ["400 /bad", "404 /nothing"]


async def test_lines_go_to_standard_output_and_name_rule_line_and_peer(tmp_path: Path) -> None:
    form = "weft %METADATA(ROUTE:weft:src)% %UPSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_SUBJECT% %REQ(X-REQUEST-ID)%"
    log = AccessLog(FileSink("/dev/stdout", form))
    async with echo_server("reviews") as application:
        view = with_signals(calling_itself(application.port), Signals(logs=(log,)))
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            answer = await client.request("http://reviews:9080/", "reviews:9080", "x-request-id: mine")
            assert answer.json()["headers"]["x-request-id"] == "mine"
            answer = await client.request("http://reviews:9080/", "reviews:9080")
            made = answer.json()["headers"]["x-request-id"]
            out = tmp_path / "envoy.out"
            await eventually(
                "the lines are written",
                lambda: out.read_text().count("\nweft ") + out.read_text().startswith("weft ") >= 4,
            )
    told = [line.split() for line in out.read_text().splitlines() if line.startswith("weft ")]
    assert {line[-1] for line in told} == {"mine", made}, "both sides say the same id"
    assert any("CN=reviews-v1.default" in line[2] for line in told), "the callee, from its certificate"
    assert any("CN=reviews-v1.default" in line[3] for line in told), "the caller, from its certificate"
    assert any(":" in line[1] for line in told)


async def test_records_and_messages_go_to_collectors(tmp_path: Path) -> None:
    async with log_collector() as collector, echo_server("reviews") as application:
        where = Collector(host="127.0.0.1", port=collector.port)
        logs = (
            AccessLog(OtlpSink(where, "records", "%RESPONSE_CODE%", (("path", "%REQ_WITHOUT_QUERY(:PATH)%"),))),
            AccessLog(GrpcSink(where, name="requests", request_headers=("x-a",))),
            AccessLog(GrpcSink(where, tcp=True)),
        )
        view = with_signals(calling_itself(application.port), Signals(logs=logs, reporter=REPORTER))
        view = replace(view, incoming=Signals())
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            await client.request("http://reviews:9080/a?secret=1", "reviews:9080", "x-a: b")
            await collector.until(lambda found: bool(found.records and found.requests))
    body, attributes, about = collector.records[0]
    assert (body, attributes) == ("200", {"path": "/a"})
    assert about["service.name"] == "reviews"
    assert about["service.instance.id"] == "reviews-v1.default"
    name, entry = collector.requests[0]
    assert name == "requests"
    assert entry.request.request_headers["x-a"] == "b"
    assert entry.response.response_code.value == 200
    assert collector.connections == []


async def test_a_connection_is_one_line_when_it_has_ended(tmp_path: Path) -> None:
    async with log_collector() as collector, greeting_server(b"hello") as application:
        where = Collector(host="127.0.0.1", port=collector.port)
        logs = (
            AccessLog(FileSink("all.log", "%BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER%")),
            AccessLog(FileSink("none.log"), sampling=0.0),
            AccessLog(FileSink("asked.log"), by_default=False, on_by_route=True),
            AccessLog(GrpcSink(where, tcp=True, name="connections")),
            AccessLog(GrpcSink(where, name="requests")),
        )
        port, to = free_port(), backend(protocol=Protocol.TCP)
        view = calling_itself(application, to=to, protocol=Protocol.TCP, service=(HOST, 9080))
        view = with_signals(replace(view, upstreams=(upstream_port(port, to),)), Signals(metrics=Metrics(), logs=logs))
        view = replace(view, incoming=Signals())
        async with running_pair(view, tmp_path):
            async with Connection(port) as client:
                assert await client.reader.readexactly(5) == b"hello"
                client.writer.write(b"12345678")
                await client.reader.readexactly(8)
            await collector.until(lambda found: bool(found.connections))
            await eventually("the line is written", lambda: len(lines(tmp_path, "all.log")) >= 1)
    [line] = lines(tmp_path, "all.log")
    assert line.startswith("8 13 ")
    assert lines(tmp_path, "none.log") == lines(tmp_path, "asked.log") == []
    assert {name for name, _ in collector.connections} == {"connections"}
    assert collector.requests == []
