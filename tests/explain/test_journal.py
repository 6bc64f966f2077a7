"""The journal's bounds, and the words for Envoy's flags."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import weft.explain
from weft.explain.flags import FLAGS, meaning
from weft.explain.journal import Journal
from weft.explain.ladder import backend_of
from weft.findings.catalogue.lookup import ENTRIES
from weft.mesh.services.service import BackendKey
from weft.model.requests import RequestSeen


def seen(number: int = 0, **fields: Any) -> RequestSeen:
    return RequestSeen(float(number), "outbound", id=str(number), **fields)


def test_the_latest_of_each_workload_are_kept_and_all_together_are_bounded() -> None:
    journal = Journal(in_all=1000)
    journal.add("default/a", map(seen, range(5000)), left_out=7)
    assert len(journal) == 200
    found = journal.latest(lambda _: True, 3)
    assert [one.seen.id for one in found] == ["4999", "4998", "4997"]
    assert journal.left_out == 7
    for number in range(500):
        journal.add(f"default/w{number}", map(seen, range(50)))
    assert len(journal) <= 1000
    assert journal.latest(lambda _: True, 10, ["default/a"]) == (), "who has not reported for longest makes room"
    assert len(journal.latest(lambda _: True, 100, ["default/w499"])) == 10


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"flags": "UO", "status": 503}, "a bound on connections or requests was reached"),
        ({"flags": "UF,URX", "status": 503, "failure": "delayed_connect_error:_Connection_refused"}, "nobody listens"),
        ({"flags": "UF", "status": 503, "failure": "TLS_error:...SSLV3_ALERT_CERTIFICATE_EXPIRED"}, "has expired"),
        ({"flags": "UC", "status": 503, "details": "upstream_reset_before_response_started{connection_termination}"},
         "closed the connection"),
        ({"status": 404, "details": "route_not_found", "flags": "NR"}, "no rule matches the request"),
        ({"status": 500, "details": "via_upstream"}, "the other side answered so"),
        ({"status": 503, "details": "upstream_reset_before_response_started{remote_reset}"}, "reset the request"),
        ({"status": 503, "flags": "ZZ", "details": "something_new"}, ""),
    ],
)  # fmt: skip
def test_meanings(fields: dict[str, Any], words: str) -> None:
    found = meaning(seen(**fields))
    assert words in found
    assert found.isprintable()


def test_every_flag_has_a_code_and_a_sentence() -> None:
    for name, flag in FLAGS.items():
        assert flag.code in ENTRIES, name
        assert flag.text[0].islower() or flag.text.startswith("DNS"), name


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("outbound|80|v1|a.default.svc.cluster.local", BackendKey("a.default.svc.cluster.local", 80, "v1")),
        ("outbound|80||a.default.svc.cluster.local|tcp", BackendKey("a.default.svc.cluster.local", 80, "")),
        ("inbound|80", None),
        ("outbound|x||a", None),
        ("", None),
    ],
)
def test_clusters(name: str, key: BackendKey | None) -> None:
    assert backend_of(name) == key


def test_every_code_of_a_cause_is_in_the_catalogue() -> None:
    for path in Path(weft.explain.__file__).parent.glob("*.py"):
        for code in re.findall(r'\bCause\(\s*"([a-z0-9-]+)"', path.read_text()):
            assert code in ENTRIES, f"{code} in {path.name}: add it to weft/findings/catalogue/requests.py"
