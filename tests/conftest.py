"""What every test may rely on, however the run was started; and ``--quick``, which leaves out what starts processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import weft.discovery.grpc_tls  # noqa: F401 - before any test loads gRPC, as in a control plane
from weft.settings.ports import VARIABLE, own_ports

HERE = Path(__file__).parent
WITH_PROCESSES = ("agent", "bench", "controlplane", "e2e", "envoy_facts", "local", "security", "testing", "tools")
"""Rooms of tests that start Envoys, agents, control planes or tools. ``--quick`` takes of these only what is marked."""
MESHES = ("e2e", "local")
"""Of these, those whose files take minutes."""

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell does that to its background jobs, and children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _signals_act_as_before() -> Iterator[None]:
    """A test that leaves signals blocked would make every process started later deaf to its stop."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    after = signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert after == before, f"signals left blocked: {after - before}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--quick``."""
    text = "for a first look: no tests that start processes, but for one whole mesh, and fewer random examples"
    parser.addoption("--quick", action="store_true", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """The marker, how many random examples there are, and ports of one's own for each of several workers: a mesh that
    is down for a moment has to find its own free again."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and VARIABLE not in os.environ:
        ports, each = own_ports(), len(own_ports()) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        first = ports.start + int(worker.removeprefix("gw")) * each
        os.environ[VARIABLE] = f"{first}-{first + each - 1}"
    config.addinivalue_line("markers", "quick: starts processes, and is run with --quick all the same")
    # Busy machines are slow: how long an example takes tells nothing.
    patient = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.register_profile("patient", patient)
    hypothesis.settings.register_profile("quick", patient, max_examples=10)
    hypothesis.settings.load_profile("quick" if config.getoption("--quick") else "patient")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what ``--quick`` leaves out, and put what waits for meshes first, whatever the order within: files that
    take minutes end before those that take seconds, so that no worker is left with one alone."""
    items.sort(key=lambda item: (_part(item) not in MESHES, _part(item) not in WITH_PROCESSES))
    if not config.getoption("--quick"):
        return
    left_out = [item for item in items if _part(item) in WITH_PROCESSES and item.get_closest_marker("quick") is None]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


def _part(item: pytest.Item) -> str:
    return item.path.relative_to(HERE).parts[0]
