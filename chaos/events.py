"""What happens in a run, chosen by chance: edits of documents, agents, workloads and the control plane that end."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from chaos.bookinfo import Bookinfo, NobodyAnswersError
from chaos.journal import Journal

ROUTED = ("details", "reviews", "ratings", "productpage")
_EDIT_PAUSE = (0.1, 1.5)
_AGENT_PAUSE = (1.0, 4.0)
_STAY_PAUSE = (3.0, 10.0)
_AWAY = (0.0, 5.0)
"""Seconds: between two edits, two agents' ends, two ends of something larger, and that the control plane is away."""
_ROTATION_PAUSE = (2.0, 10.0)
_ROTATION_SECONDS = 240.0
_TAKEN_BACK = 0.25
"""Seconds between two rotations of the root, and that one may take; how many of them are taken back."""
_ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: chaos-{name}}}
spec:
  hosts: [{name}]
  http: [{{timeout: 30s, route: [{routes}]}}]
"""
_HTTP_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: chaos-{name}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: {name}}}]
  rules: [{{backendRefs: [{{name: {name}, port: 9080}}], timeouts: {{request: 30s}}}}]
"""
_RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec:
  host: {name}
  subsets: [{subsets}]
  trafficPolicy:
    loadBalancer: {{simple: {simple}}}
    connectionPool: {{http: {{http2MaxRequests: {requests}}}}}
"""
_PEERS = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: chaos, namespace: {namespace}}}
spec: {{mtls: {{mode: {mode}}}}}
"""
_COMMENTED = """
# Said differently for the {number}th time:

apiVersion: v1
kind: Service
metadata: {{name: {name}, labels: {{service: {name}, app: {name}}}}}
spec:
{space}
  selector: {{app: {name}}}
  ports: [{{name: http, port: 9080}}]
"""


class Trouble:
    """The acts, each on the mesh of `bookinfo`, written down in `journal`. Equal seeds give equal choices."""

    def __init__(self, bookinfo: Bookinfo, journal: Journal, seed: int, *, rotates: bool = False) -> None:
        self._bookinfo = bookinfo
        self._journal = journal
        self._seed = seed
        self._rotates = rotates
        self._there: dict[str, tuple[str, str, str]] = {}
        self._busy: set[str] = set()
        self._number = self._parts = 0

    async def run(self, seconds: float) -> None:
        """Trouble of every kind, at the same time, for `seconds`; what is under way then is finished."""
        end = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            acts = [(self.edit, _EDIT_PAUSE), (self.agent, _AGENT_PAUSE), (self.part, _STAY_PAUSE)]
            if self._rotates:
                acts.append((self.rotation, _ROTATION_PAUSE))
            for number, (act, pause) in enumerate(acts):
                group.create_task(_repeat(act, random.Random(self._seed * 10 + number), pause, end))

    async def edit(self, chance: random.Random) -> None:
        """One change of documents: put, put again, or taken away; with and without waiting for confirmation. While the
        control plane is away nothing can be changed."""
        self._number += 1
        wait = chance.choice((30.0, None))
        with contextlib.suppress(NobodyAnswersError):
            if self._there and chance.random() < 0.35:
                await self._delete(chance.choice(sorted(self._there)), wait)
            else:
                await self._apply(*self._document(chance), wait)

    def _document(self, chance: random.Random) -> tuple[str, str, tuple[str, str, str] | None]:
        """A name for people, a text, and what to delete later."""
        name = chance.choice(ROUTED)
        kind = chance.choices(("route", "http route", "rule", "peers", "comment"), (5, 2, 3, 2, 2))[0]
        if kind == "comment":
            space = "\n" * chance.randrange(5)
            return f"service {name}, reformatted", _COMMENTED.format(name=name, number=self._number, space=space), None
        if kind == "peers":
            namespace, mode = (
                chance.choice(("istio-system", "default")),
                chance.choice(("STRICT", "PERMISSIVE", "DISABLE")),
            )
            return (
                f"{mode} in {namespace}",
                _PEERS.format(namespace=namespace, mode=mode),
                ("peerauthentication", namespace, "chaos"),
            )
        if kind == "rule":
            return f"rule of {name}", _rule(name, chance), None
        if kind == "http route":
            return f"http route of {name}", _HTTP_ROUTE.format(name=name), ("httproute", "default", f"chaos-{name}")
        return f"route of {name}", _route(name, chance), ("virtualservice", "default", f"chaos-{name}")

    async def _apply(self, text: str, document: str, key: tuple[str, str, str] | None, wait: float | None) -> None:
        how = "confirmed" if wait else "sent"
        if key is not None:
            self._there["/".join(key)] = key
        with self._journal.act("edits", f"{text}, {how}") as act:
            act.outcome = await asyncio.to_thread(self._bookinfo.apply, document, wait)
        self._journal.judge(act)

    async def _delete(self, name: str, wait: float | None) -> None:
        with self._journal.act("edits", f"delete {name}") as act:
            act.outcome = await asyncio.to_thread(self._bookinfo.delete, *self._there[name], wait)
        self._journal.judge(act)
        self._there.pop(name, None)

    async def agent(self, chance: random.Random) -> None:
        """An agent restarts in place, or is killed and another takes over."""
        name = chance.choice(sorted(set(self._bookinfo.roles) - self._busy))
        how, act = chance.choice((("SIGHUP", self._bookinfo.restart_agent), ("kill -9", self._bookinfo.replace_agent)))
        with self._taken(name), self._journal.act("agents", f"{how} to the agent of {name}"):
            await asyncio.to_thread(act, name)

    async def rotation(self, chance: random.Random) -> None:
        """The root of all certificates is rotated, whatever else happens meanwhile; some rotations are taken back. One
        that does not end is a failure."""
        back, waited = chance.random() < _TAKEN_BACK, chance.uniform(0.0, 5.0)
        kind, loop = ("rotations taken back", "and back") if back else ("rotations", ""), asyncio.get_running_loop()
        if not await self._asked("rotate"):
            return
        with self._journal.act(kind[0], f"rotate the root {kind[1]}".strip()) as act:
            await asyncio.sleep(waited)
            if back:
                await self._asked("abort")
            deadline, said = loop.time() + _ROTATION_SECONDS, ("", 0)
            while said[0] != "steady":
                if loop.time() > deadline:
                    act.outcome = f"it has not ended: {said[0]}, {said[1]} proxies are awaited"
                    break
                await asyncio.sleep(0.5)
                with contextlib.suppress(NobodyAnswersError):
                    said = await asyncio.to_thread(self._bookinfo.authority)
        self._journal.judge(act)

    async def _asked(self, what: str) -> bool:
        """Ask the authority for something; whether it does so."""
        with contextlib.suppress(NobodyAnswersError):
            return bool(await asyncio.to_thread(self._bookinfo.ask_authority, what))
        return False

    async def part(self, chance: random.Random) -> None:
        """The control plane is killed and comes back, or a workload is replaced. Not both at once: an ordered stop
        needs somebody who tells the callers."""
        self._parts += 1
        if self._parts % 2:
            await self._control_plane(chance.uniform(*_AWAY))
            return
        names = sorted(
            name for name, role in self._bookinfo.roles.items() if role.replaceable and name not in self._busy
        )
        name = chance.choice(names)
        with self._taken(name), self._journal.act("workloads", f"replace {name}"):
            await asyncio.to_thread(self._bookinfo.replace_workload, name)

    async def _control_plane(self, away: float) -> None:
        with self._journal.act("control planes", f"killed, away for {away:.1f} s"):
            await asyncio.to_thread(self._bookinfo.kill_control_plane)
            await asyncio.sleep(away)
        with self._journal.act("returns", "the control plane comes back"):
            await asyncio.to_thread(self._bookinfo.serve)

    @contextmanager
    def _taken(self, name: str) -> Iterator[None]:
        self._busy.add(name)
        try:
            yield
        finally:
            self._busy.discard(name)


async def _repeat(
    act: Callable[[random.Random], Awaitable[None]], chance: random.Random, pause: tuple[float, float], end: float
) -> None:
    """Do `act` again and again until the loop's time `end`."""
    loop = asyncio.get_running_loop()
    while (left := end - loop.time()) > 0:
        await asyncio.sleep(min(left, chance.uniform(*pause)))
        await act(chance)


def _versions(name: str) -> tuple[str, ...]:
    return ("v1", "v2", "v3") if name == "reviews" else ("v1",)


def _route(name: str, chance: random.Random) -> str:
    versions = _versions(name)
    chosen = chance.sample(versions, chance.randint(1, len(versions)))
    weights = [100 // len(chosen)] * len(chosen)
    weights[0] += 100 - sum(weights)
    routes = (
        f"{{destination: {{host: {name}, subset: {version}}}, weight: {weight}}}"
        for version, weight in zip(chosen, weights, strict=True)
    )
    return _ROUTE.format(name=name, routes=", ".join(routes))


def _rule(name: str, chance: random.Random) -> str:
    subsets = ", ".join(f"{{name: {version}, labels: {{version: {version}}}}}" for version in _versions(name))
    simple = chance.choice(("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"))
    return _RULE.format(name=name, subsets=subsets, simple=simple, requests=chance.randint(1000, 2000))
