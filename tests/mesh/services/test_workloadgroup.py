"""What a WorkloadGroup gives to a workload that is started from it."""

from __future__ import annotations

from pathlib import Path

from support.corpus import EVERYTHING, documents_of
from weft.agent.group import with_group
from weft.agent.parameters import GroupParameters, HealthParameters, PortParameter, RunParameters
from weft.mesh.services.workloadgroup import build_group
from weft.model.groups import GroupAnswer, GroupProbe
from weft.model.locality import Locality
from weft.schema.kinds.workloadgroup import WorkloadGroupSpec
from weft.settings.home import Home

GROUPS = {
    document.key.name: build_group(document.spec)
    for document in documents_of(EVERYTHING.read_text(), EVERYTHING.name)
    if isinstance(document.spec, WorkloadGroupSpec)
}


def parameters(**given: object) -> RunParameters:
    return RunParameters(Home(Path("/nowhere")), "vm-1", **{"group": GroupParameters("vms"), **given})  # type: ignore[arg-type]


def test_every_field_is_in_the_answer() -> None:
    assert GROUPS["vms"] == GroupAnswer(
        labels=(("app", "vms"), ("tier", "back"), ("version", "v2")),
        ports=(("http", 8080), ("admin", 9000)),
        service_account="vms",
        locality="eu/eu-1/rack",
        weight=3,
        metrics=(
            ("prometheus.io/path", "stats"),
            ("prometheus.io/port", "9100"),
            ("prometheus.io/scrape", "true"),
        ),
        probe=GroupProbe("http", 8080, "/health", "vms.test", True, (("x-probe", "one, two"),), 1.0, 4.0, 2.0, 2, 5),
    )
    assert GROUPS["vms-tcp"] == GroupAnswer(probe=GroupProbe("tcp", 5432))


def test_what_the_command_line_does_not_say_comes_from_the_group() -> None:
    found = with_group(parameters(), GROUPS["vms"])
    assert dict(found.labels) == {"app": "vms", "tier": "back", "version": "v2"}
    assert found.ports == (PortParameter(8080, name="http"), PortParameter(9000, name="admin"))
    assert (found.service_account, found.weight, found.locality) == ("vms", 3, Locality("eu", "eu-1", "rack"))
    assert (found.metrics_port, found.metrics_path) == (9100, "stats")
    assert found.health == HealthParameters(
        "http", "/health", 4.0, 2.0, 5, 2, 8080, "vms.test", True, (("x-probe", "one, two"),), 1.0
    )


def test_the_command_line_is_first() -> None:
    own = parameters(
        group=GroupParameters("vms", has_account=True, has_health=True),
        labels=(("version", "v9"),),
        ports=(PortParameter(8080, 0), PortParameter(7000, name="admin")),
        service_account="own",
        locality=Locality("us"),
        metrics_port=1,
        health=HealthParameters("none"),
    )
    found = with_group(own, GROUPS["vms"])
    assert dict(found.labels) == {"app": "vms", "tier": "back", "version": "v9"}
    assert found.ports == (PortParameter(8080, 0, "http"), PortParameter(7000, name="admin"))
    assert (found.service_account, found.locality) == ("own", Locality("us"))
    assert (found.metrics_port, found.metrics_path) == (1, "")
    assert found.health == HealthParameters("none")


def test_a_group_that_says_nothing_leaves_the_defaults() -> None:
    found = with_group(parameters(), GroupAnswer())
    assert (found.service_account, found.health.kind, found.weight) == ("default", "none", 1)
    with_ports = with_group(parameters(ports=(PortParameter(80),)), GroupAnswer())
    assert with_ports.health == HealthParameters("tcp")
