"""``./run oracle``: the policy oracle for as many requests as it is told, and for connections."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from support.connection_oracle import consult_connections
from support.policy_oracle import Outcome, consult

_REQUESTS_PER_SET = 1000
_MOST_PORTS = 300


async def _both(pairs: int, seed: int, directory: Path) -> tuple[Outcome, Outcome]:
    requests, connections = directory / "requests", directory / "connections"
    requests.mkdir()
    connections.mkdir()
    found = await consult(pairs, seed, requests, tell=sys.stderr.isatty())
    return found, await consult_connections(min(_MOST_PORTS, pairs // _REQUESTS_PER_SET), seed, connections)


def main() -> int:
    """Exit code 1 if there is a disagreement."""
    parser = argparse.ArgumentParser(prog="./run oracle", description="random policies and requests against Envoy")
    parser.add_argument("--pairs", type=int, default=100_000, help="how many pairs of policies and requests at least")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed makes the same pairs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weft-oracle-") as directory:
        outcomes = asyncio.run(_both(arguments.pairs, arguments.seed, Path(directory)))
    wrong = [each for outcome in outcomes for each in outcome.disagreements]
    for one in wrong[:5]:
        sys.stdout.write(f"\n{one}\n")
    for what, outcome in zip(("requests", "connections"), outcomes, strict=True):
        told = f"{outcome.pairs} pairs, of which {outcome.allowed} allowed and {outcome.asked} asked about"
        sys.stdout.write(f"{what}: {told}; {len(outcome.disagreements)} disagreements; seed {arguments.seed}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
