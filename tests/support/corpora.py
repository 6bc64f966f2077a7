"""``./run corpora``: mutated requests against real servers behind weft's inbound listener, and what of a denied path,
host, method or header comes back.

One Envoy with two ports before each server: one with a policy in the recommended shape (it allows what is right), one
with a policy that denies the same by name.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.envoy import free_port
from support.policy_documents import Json
from support.policy_oracle import compile_cases
from support.proxy import running_view
from support.raw_http import answers
from support.servers import DENIED, OPEN, OTHER_HOST, SERVERS, running_servers
from support.spellings import Mutator, Sent, denied_ones
from support.views import inbound, outbound, sidecar
from weft.mesh.access.access import OPEN as NOBODY_ASKED
from weft.mesh.services.service import MutualTlsMode
from weft.mesh.views import SidecarView

_AT_ONCE = 8_000
_ROLE = "request.headers[x-role]"
ALLOW = {
    "action": "ALLOW",
    "rules": [
        {
            "to": [
                {
                    "operation": {
                        "hosts": ["shop.example"],
                        "methods": ["GET", "HEAD"],
                        "paths": ["/open", "/open/*", "/api/public/*"],
                    }
                }
            ],
            "when": [{"key": _ROLE, "values": ["reader"]}],
        }
    ],
}
"""The recommended shape."""
DENY = {
    "action": "DENY",
    "rules": [
        {"to": [{"operation": {"paths": ["/admin", "/admin/*", "/api/private/*"]}}]},
        {"to": [{"operation": {"hosts": [OTHER_HOST]}}]},
        {"to": [{"operation": {"methods": ["POST"]}}]},
        {"when": [{"key": _ROLE, "values": ["admin"]}]},
    ],
}


@dataclass(frozen=True)
class Doors:
    """The ports of one server behind the proxy: by its policy, or with none."""

    allow: int
    deny: int
    without: int


@dataclass
class Outcome:
    """What came back from one server."""

    sent: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    """Answers by status, or `none`."""
    opened: int = 0
    leaks: list[tuple[Sent, bytes]] = field(default_factory=list)

    def __str__(self) -> str:
        answered = ", ".join(f"{times} of {status}" for status, times in self.answered.most_common(8))
        return f"{self.sent} requests, {self.opened} open bodies, {len(self.leaks)} denied ones ({answered})"


@contextlib.asynccontextmanager
async def running_doors(directory: Path, names: Sequence[str] = SERVERS) -> AsyncIterator[dict[str, Doors]]:
    """The servers behind one Envoy."""
    sets: dict[str, Sequence[Json]] = {
        name: [_document(name, spec)] for name, spec in (("allow", ALLOW), ("deny", DENY))
    }
    asked = {case.name: case.access for case in compile_cases(sets)} | {"without": NOBODY_ASKED}
    async with running_servers(*names) as servers:
        ports = {(server, name): free_port() for server in servers for name in asked}
        given = [
            inbound(listen, servers[server], port=9000 + number, access=asked[name], mode=MutualTlsMode.DISABLE)
            for number, ((server, name), listen) in enumerate(ports.items())
        ]
        view: SidecarView = sidecar(outbound(), inbound=tuple(given), proxy_listen=None)
        async with running_view(view, directory):
            yield {server: Doors(**{name: ports[server, name] for name in asked}) for server in servers}


def _document(namespace: str, spec: object) -> Json:
    metadata = {"name": "corpora", "namespace": namespace}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}


async def attack(port: int, count: int, seed: int) -> Outcome:
    """So many mutated requests through one door."""
    mutator, outcome = Mutator(seed), Outcome()
    while outcome.sent < count:
        sent = mutator.requests(min(_AT_ONCE, count - outcome.sent))
        for one, answer in zip(sent, await answers(port, sent), strict=True):
            outcome.sent += 1
            outcome.answered[answer[9:12].decode("latin-1") or "none"] += 1
            outcome.opened += OPEN in answer
            if DENIED in answer:
                outcome.leaks.append((one, answer))
    return outcome


async def attack_all(doors: Mapping[str, Doors], count: int, seed: int) -> dict[str, Outcome]:
    """So many in all, each server others, against the doors with the recommended shape."""
    share = -(-count // len(doors))
    found = await asyncio.gather(*(attack(door.allow, share, seed + n) for n, door in enumerate(doors.values())))
    return dict(zip(doors, found, strict=True))


async def gaps(doors: Mapping[str, Doors]) -> list[str]:
    """The table: of each kind of spelling, how many bring back what a policy denies."""
    sent = denied_ones()
    tried = Counter(one.kind for one in sent)
    through: dict[str, Counter[str]] = {}
    for server, door in doors.items():
        found = zip(sent, await answers(door.deny, sent), strict=True)
        through[server] = Counter(one.kind for one, answer in found if _shown(one, answer))
    lines = [f"| spelling | tried | {' | '.join(doors)} |", f"|---|---|{'---|' * len(doors)}"]
    for kind, times in tried.items():
        lines.append(f"| {kind} | {times} | {' | '.join(str(through[server][kind]) for server in doors)} |")
    return lines


def _shown(one: Sent, answer: bytes) -> bool:
    """Whether it is the denied thing itself that came back; what no rule denies (the start page) does not count."""
    return (DENIED + b" shop admin/" if one.kind.startswith(("path", "overriding")) else DENIED) in answer


async def _run(arguments: argparse.Namespace) -> int:
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="weft-corpora-") as directory:
        async with running_doors(Path(directory), arguments.servers) as doors:
            if arguments.gaps:
                sys.stdout.write("\n".join(await gaps(doors)) + "\n")
                return 0
            for server, outcome in (await attack_all(doors, arguments.requests, arguments.seed)).items():
                sys.stdout.write(f"{server}: {outcome}\n")
                for one, answer in outcome.leaks[:5]:
                    sys.stdout.write(f"  {one.kind}: {one.wire!r}\n    {answer[-200:]!r}\n")
                wrong += len(outcome.leaks)
    sys.stdout.write(json.dumps({"requests": arguments.requests, "seed": arguments.seed, "denied": wrong}) + "\n")
    return 1 if wrong else 0


def main() -> int:
    """Exit code 1 if a denied body came back."""
    parser = argparse.ArgumentParser(prog="./run corpora", description="mutated requests against real web servers")
    parser.add_argument("--requests", type=int, default=100_000, help="how many in all")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed makes the same requests")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS, help="all, if not said")
    parser.add_argument("--gaps", action="store_true", help="print the table of docs/security.md: gaps of DENY")
    return asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
