"""Fuzz for long: ``./run fuzz``, ``./run fuzz yaml csr --seconds 600``. Coverage leads, where atheris is installed.

Each target runs in a process of its own. What breaks one is written to ``fuzz/corpus/TARGET``, to be committed with
the mend: from then on every test run tries it. Exit code 1 if anything broke.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys

from fuzz.targets import named


def _told(name: str, done: subprocess.CompletedProcess[str]) -> str:
    """What a process said: its own lines, or all of it if it ended in another way than ours."""
    own = [line for line in done.stdout.splitlines() if line.startswith("fuzz:") or done.returncode]
    if done.returncode and not own:
        own = [f"fuzz: {name}: exit code {done.returncode}", done.stderr]
    return "\n".join(own or [f"fuzz: {name}: nothing broke it"])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="./run fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", help="names of targets (default: all)")
    parser.add_argument("--seconds", type=float, default=20, help="for each target (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: 0)")
    parser.add_argument("--list", action="store_true", help="print the names of the targets")
    given = parser.parse_args()
    try:
        targets = named(given.targets)
    except KeyError as error:
        parser.error(f"there is no target {error}; --list names them")
    if given.list:
        print("\n".join(target.name for target in targets))
        return 0
    guided = importlib.util.find_spec("atheris") is not None
    print(f"fuzz: {len(targets)} targets, {given.seconds:g} s each, {'led by coverage' if guided else 'by mutation'}")
    failed = []
    for target in targets:
        module = "fuzz.guided" if guided else "fuzz.running"
        command = [sys.executable, "-m", module, target.name, str(given.seconds), str(given.seed)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        print(_told(target.name, done), flush=True)
        if done.returncode != 0:
            failed.append(target.name)
    if failed:
        print(f"fuzz: broken: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
