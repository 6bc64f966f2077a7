"""Tables and queries for tests of the responder."""

from __future__ import annotations

import dns.message

from weft.agent.dns.answers import Answerer
from weft.agent.dns.directory import Directory
from weft.model.names import NamedInstance, NameEntry, NameTable

FULL = "reviews.default.svc.cluster.local"
TABLE = NameTable(
    (
        NameEntry(
            (FULL, "reviews.default.svc", "reviews.default", "reviews"),
            ("240.240.0.1", "fd77::1"),
            (("http", "tcp", 9080),),
        ),
        NameEntry(("four.default.svc.cluster.local", "four.default"), ("10.1.2.3",)),
        NameEntry(
            ("db.shop.svc.cluster.local", "db.shop.svc", "db.shop"),
            ports=(("pg", "tcp", 5432),),
            headless=True,
            instances=(NamedInstance("db-0", ("10.0.0.1", "fd00::1")), NamedInstance("db-1", ("10.0.0.2",))),
        ),
        NameEntry(("empty.shop.svc.cluster.local", "empty.shop"), headless=True),
        NameEntry(("old.default.svc.cluster.local", "old.default", "old"), alias="www.example.org"),
        NameEntry(("again.default.svc.cluster.local", "again"), alias="old.default.svc.cluster.local"),
        NameEntry(("near.default.svc.cluster.local", "near"), alias=FULL),
        NameEntry(("loop.default.svc.cluster.local", "loop"), alias="loop.default.svc.cluster.local"),
        NameEntry(("api.example.com",), ("240.240.0.2", "fd77::2"), (("http", "tcp", 80),), outside=True),
        NameEntry(("*.example.com",), ("240.240.0.3", "fd77::3"), outside=True),
        NameEntry(("*.any.shop.svc.cluster.local",), ("240.240.0.5", "fd77::5"), outside=True),
        NameEntry(("*.deep.example.com",), ("240.240.0.4", "fd77::4"), outside=True),
    ),
    ("cluster.local", "svc"),
)


def answerer(table: NameTable = TABLE) -> Answerer:
    return Answerer(Directory(table))


def question(name: str, kind: str = "A", **options: object) -> bytes:
    return dns.message.make_query(name, kind, **options).to_wire()  # type: ignore[arg-type]
