"""``./run bench``: measures every section, writes JSON and Markdown, prints the Markdown."""

from __future__ import annotations

import argparse
import compileall
import contextlib
import datetime
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import weft
from bench.arms import THIS, Arms, checkout, committed
from bench.machine import Cores, choose_cores, describe_machine
from bench.processes import BenchError, envoy_binary
from bench.report import render_section, to_plain, write_report

RESULTS = Path(__file__).parent / "results"
SECTIONS = {
    "data path": ("bench.datapath", "measure_data_path"),
    "signals": ("bench.signals", "measure_signals"),
    "policies": ("bench.policies", "measure_policies"),
    "sidecars": ("bench.sidecars", "measure_sidecars"),
    "propagation": ("bench.propagation", "measure_propagation"),
    "streams": ("bench.streams", "measure_streams"),
    "size": ("bench.size", "measure_size"),
    "registrations": ("bench.registrations", "measure_registrations"),
    "window": ("bench.window", "measure_window"),
    "edits": ("bench.edits", "measure_edits"),
    "demo": ("bench.demo", "measure_demo"),
    "shared": ("bench.shared", "measure_shared"),
    "kubernetes": ("bench.kubernetes", "measure_kubernetes"),
    "state": ("bench.state", "measure_state"),
}
"""Name, module and function of each section: called with a scratch directory, the cores, and ``quick``."""
COMPARED = ("streams", "size", "registrations")
"""Sections that take `arms`: the code to measure, side by side."""
HELP = """\
sections:
  data path      CPU and latency of requests through our Envoys and a hand-written pair
  signals        CPU of metrics, access logs and traces, each beside a pair that says nothing
  policies       CPU of TCP instead of HTTP, of ten access policies, and of rate limits, each beside a plain pair
  sidecars       memory of a sidecar's Envoy in a mesh of 1,000 services, beside a bare Envoy
  propagation    from a change at the admin API until twenty real Envoys act on it
  streams        first load, changes, restart, rest, memory: 1,000 services, 1,000 and 2,000
                 simulated streams, unscoped and scoped to 10 services
  size           10,000 services, 100,000 endpoints, 2,000 scoped sessions, without gRPC
  registrations  10,000 and 50,000 registrations in the store of `weft serve`
  window         a day of traffic of 20,000 edges, and what agents and their reports cost
  edits          500 random edits of a mesh of 1,000 services in 50 s, under requests
  demo           from `weft demo` to the first page
  shared         one proxy for many workloads beside a sidecar for each: memory, start, calls, a busy neighbour
  kubernetes     1,000 Nodes, 2,000 Services and 10,000 Pods of a real API server, which `./run kubernetes` builds
  state          writes of two control planes that share their state in Secrets of such an API server

examples:
  ./run bench --quick                                       a look at everything
  ./run bench --section streams --section size              these two, thoroughly
  ./run bench --section streams --quick --against HEAD~5    and beside it the code of an earlier commit
"""


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="./run bench",
        description="Measure weft against yardsticks of the same run.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="smaller, fewer and shorter rounds: a look, not a result")
    parser.add_argument(
        "--section",
        action="append",
        choices=sorted(SECTIONS),
        metavar="NAME",
        help="renew this section only (repeatable)",
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--against",
        metavar="REF",
        help=f"measure the code of this commit beside it, in turn (A B B A): {', '.join(COMPARED)}",
    )
    other.add_argument("--source", metavar="DIR", type=Path, help="the same with the code of another checkout")
    parser.add_argument("--name", default="latest", help="write bench/results/NAME.json and NAME.md (default: latest)")
    arguments = parser.parse_args()
    if arguments.against or arguments.source:
        arguments.section = arguments.section or list(COMPARED)
        if single := [name for name in arguments.section if name not in COMPARED]:
            parser.error(f"{', '.join(single)} cannot be measured side by side, only {', '.join(COMPARED)}")
    return arguments


@contextlib.contextmanager
def chosen_arms(arguments: argparse.Namespace) -> Iterator[Arms]:
    """This checkout's code, and what it is to be measured beside."""
    with contextlib.ExitStack() as stack:
        if arguments.against:
            yield (THIS, stack.enter_context(committed(arguments.against)))
        elif arguments.source:
            yield (THIS, checkout(arguments.source))
        else:
            yield (THIS,)


def measure_section(name: str, cores: Cores, arms: Arms, *, quick: bool) -> dict[str, object]:
    """One section; a failure becomes part of the report, so that the others still count."""
    module, function = SECTIONS[name]
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as directory:
        try:
            measure: Callable[..., dict[str, object]] = getattr(importlib.import_module(module), function)
            side_by_side = {"arms": arms} if name in COMPARED else {}
            return measure(Path(directory), cores, quick=quick, **side_by_side)
        except (BenchError, OSError, LookupError, AttributeError, ImportError, subprocess.SubprocessError) as error:
            notes = "\n".join(getattr(error, "__notes__", []))
            print(f"bench: {name} failed: {error}\n{notes}", file=sys.stderr)
            return {"error": f"{type(error).__name__}: {error}".replace(directory, "DIR")}


def earlier_sections(name: str) -> dict[str, Any]:
    """Sections of the report that is already there: each has its yardsticks in itself, so that one can be renewed."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return {}
    sections: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["sections"]
    return sections


def compile_sources() -> None:
    """Have the bytecode there that an installed weft has: without it a start is mostly compiling, whatever it does."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(Path(weft.__file__).parent, quiet=2)


def main() -> int:
    """Measure, write, print; 1 when a section failed."""
    arguments = parse_arguments()

    def interrupted(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, interrupted)
    for name in [name for name in os.environ if name.lower() in {"http_proxy", "https_proxy", "all_proxy"}]:
        del os.environ[name]
    compile_sources()
    cores = choose_cores()
    started = time.monotonic()
    sections: dict[str, Any] = earlier_sections(arguments.name) if arguments.section else {}
    report: dict[str, Any] = {
        "weft": weft.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "quick": arguments.quick,
        "machine": describe_machine(cores, envoy_binary()),
        "sections": sections,
    }
    with chosen_arms(arguments) as arms:
        for name in SECTIONS:
            if arguments.section and name not in arguments.section:
                continue
            print(f"bench: {name}", file=sys.stderr)
            sections[name] = to_plain(measure_section(name, cores, arms, quick=arguments.quick))
            print("\n".join(render_section(name, sections[name])), flush=True)
    report["sections"] = {name: sections[name] for name in SECTIONS if name in sections}
    report["seconds"] = time.monotonic() - started
    as_json, as_text = write_report(report, RESULTS, arguments.name)
    print(f"bench: written to bench/results/{as_json.name} and {as_text.name}", file=sys.stderr)
    return 1 if any("error" in section for section in sections.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
