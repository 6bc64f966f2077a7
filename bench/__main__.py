"""``./run bench``: measures every section, writes JSON and Markdown, prints the Markdown."""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from bench.machine import Cores, choose_cores, describe_machine
from bench.processes import BenchError, envoy_binary
from bench.report import render_section, to_plain, write_report
from weft import __version__

RESULTS = Path(__file__).parent / "results"
SECTIONS = {
    "data path": ("bench.datapath", "measure_data_path"),
    "propagation": ("bench.propagation", "measure_propagation"),
    "streams": ("bench.streams", "measure_streams"),
    "demo": ("bench.demo", "measure_demo"),
}
"""Title, module and function of each section: called with a scratch directory, the cores, and ``quick``."""


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="./run bench", description="Measure weft against yardsticks of the same run.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a look, not a result")
    parser.add_argument(
        "--only", action="append", choices=sorted(SECTIONS), help="renew this section only (repeatable)"
    )
    parser.add_argument("--name", default="latest", help="write bench/results/NAME.json and NAME.md (default: latest)")
    return parser.parse_args()


def measure_section(name: str, cores: Cores, *, quick: bool) -> dict[str, object]:
    """One section; a failure becomes part of the report, so that the others still count."""
    module, function = SECTIONS[name]
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as directory:
        try:
            measure: Callable[..., dict[str, object]] = getattr(importlib.import_module(module), function)
            return measure(Path(directory), cores, quick=quick)
        except (BenchError, OSError, LookupError, AttributeError, ImportError) as error:
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


def main() -> int:
    """Measure, write, print; 1 when a section failed."""
    arguments = parse_arguments()

    def interrupted(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, interrupted)
    for name in [name for name in os.environ if name.lower() in {"http_proxy", "https_proxy", "all_proxy"}]:
        del os.environ[name]
    cores = choose_cores()
    started = time.monotonic()
    sections: dict[str, Any] = earlier_sections(arguments.name) if arguments.only else {}
    report: dict[str, Any] = {
        "weft": __version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "quick": arguments.quick,
        "machine": describe_machine(cores, envoy_binary()),
        "sections": sections,
    }
    for name in SECTIONS:
        if arguments.only and name not in arguments.only:
            continue
        print(f"bench: {name}", file=sys.stderr)
        sections[name] = to_plain(measure_section(name, cores, quick=arguments.quick))
        print("\n".join(render_section(name, sections[name])), flush=True)
    report["sections"] = {name: sections[name] for name in SECTIONS if name in sections}
    report["seconds"] = time.monotonic() - started
    as_json, as_text = write_report(report, RESULTS, arguments.name)
    print(f"bench: written to bench/results/{as_json.name} and {as_text.name}", file=sys.stderr)
    return 1 if any("error" in section for section in sections.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
