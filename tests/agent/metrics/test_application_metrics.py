"""The application's metrics: where they are, and what of them is believed."""

from __future__ import annotations

import pytest

from support.loopback import tcp_server
from weft.agent.errors import AgentError
from weft.agent.metrics import application as application_module
from weft.agent.metrics.application import Application, application_of, parse_text, scrape
from weft.agent.metrics.families import Sample
from weft.model.workload import SocketAddress, WorkloadPort

PORTS = (WorkloadPort(9080, SocketAddress("127.0.0.1", 18080), SocketAddress("127.0.0.1", 30001)),)


def _where(port: int, path: str = "/metrics") -> Application:
    return Application(SocketAddress("127.0.0.1", port), path)


@pytest.mark.parametrize(
    ("labels", "port", "path", "found"),
    [
        ((), 0, "", None),
        ((), 9100, "", _where(9100)),
        ((), 9080, "/m", _where(18080, "/m")),
        ((("prometheus.io/scrape", "true"),), 0, "", _where(18080)),
        ((("prometheus.io/port", "9100"), ("prometheus.io/scrape", "true")), 0, "", _where(9100)),
        ((("prometheus.io/path", "stats"), ("prometheus.io/scrape", "true")), 0, "", _where(18080, "/stats")),
        ((("prometheus.io/port", "9100"), ("prometheus.io/scrape", "false")), 0, "", None),
        ((("prometheus.io/port", "99999"), ("prometheus.io/scrape", "true")), 0, "", None),
        ((("prometheus.io/port", "9100"), ("prometheus.io/scrape", "true")), 9200, "", _where(9200)),
    ],
)
def test_where_they_are(labels: tuple[tuple[str, str], ...], port: int, path: str, found: Application | None) -> None:
    assert application_of(labels, PORTS, port, path) == found


def test_what_is_well_formed_is_read_and_the_rest_left_out() -> None:
    text = """
# HELP jobs_total Jobs.
# TYPE jobs_total counter
jobs_total{kind="a",note="x\\"}\\n{"} 3
jobs_total 4 1700000000000
# TYPE size histogram
size_bucket{le="1"} 2
temperature NaN
bad{label=unquoted} 1
bad{a="1",a="2"} 1
1bad 2
bad two
<script>alert(1)</script>
"""
    families = {one.name: one for one in parse_text(text)}
    assert set(families) == {"jobs_total", "size_bucket", "temperature"}
    assert families["jobs_total"].kind == "counter"
    assert families["jobs_total"].samples == (
        Sample((("kind", "a"), ("note", 'x"}\n{')), 3.0),
        Sample((), 4.0),
    )
    assert families["size_bucket"].kind == "unknown"


def test_openmetrics_counters_and_exemplars_are_read_too() -> None:
    [jobs] = parse_text('# TYPE jobs counter\njobs_total 3 # {trace_id="x"} 1\n# EOF\n')
    assert (jobs.name, jobs.kind, jobs.samples) == ("jobs_total", "counter", (Sample((), 3.0),))


@pytest.mark.parametrize("name", ["istio_requests_total", "envoy_x", "weft_agent_info"])
def test_an_application_cannot_speak_for_the_mesh(name: str) -> None:
    assert parse_text(f'{name}{{source_workload="admin"}} 1\n') == ()


def test_no_more_samples_are_read_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application_module, "MAX_SAMPLES", 10)
    [found] = parse_text("".join(f'flood{{n="{number}"}} 1\n' for number in range(100)))
    assert len(found.samples) == 10


async def test_no_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application_module, "_TIMEOUT", 0.2)

    async def silent(reader: object, writer: object) -> None:
        await __import__("asyncio").sleep(5)

    async with tcp_server(silent) as port:
        with pytest.raises(AgentError, match="no metrics at"):
            await scrape(_where(port))


@pytest.mark.parametrize("text", ["a{" + "x" * 1_000_000, "a{" + 'b="c",' * 200_000 + "} 1"])
def test_a_line_that_is_too_long_is_left_out_unread(text: str) -> None:
    assert [one.name for one in parse_text(f"{text}\ngood 1\n")] == ["good"]


def test_a_line_ends_at_a_newline_only() -> None:
    (found,) = parse_text('good{text="one\u2028two"} 1\r\n')
    assert found.samples[0].labels == (("text", "one\u2028two"),)
