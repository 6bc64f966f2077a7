"""`weft up`: start a mesh, take orders and keep it so until Ctrl-C, leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import difflib
import signal
import traceback
from collections.abc import AsyncIterator, Coroutine, Sequence
from functools import partial
from typing import Any

from weft.local.carried import carried_text, carrier_of
from weft.local.mesh_documents import Describe
from weft.local.meshfile import MeshFileError, read_meshfile
from weft.local.news import first_urls, mesh_urls, run_file, run_gateways, run_log_limits, run_problems
from weft.local.orders import NobodyUp, Order, Received, give_order, taking_orders
from weft.local.processes import Spawned
from weft.local.record import HomeTaken, UpRecord, stop_remains
from weft.local.supervisor import STOP_SIGNALS, OnReady, Plan, StartError, Supervisor, spawn_all
from weft.local.unit import Report
from weft.processes.signals import signals_held


def run_up(plan: Plan, report: Report, on_ready: OnReady, describe: Describe) -> int:
    """Run the mesh until a signal comes; `on_ready` is called once. The exit code: 0, or 1 if it could not start.

    When a mesh is up in this home already, that one is asked to follow the file, and the answer's exit code returned.
    """
    with signals_held(STOP_SIGNALS):  # until there is somebody to handle them
        record = UpRecord(plan.home)
        with contextlib.suppress(HomeTaken):
            record.take()
            return _run_in_home(plan, record, report, on_ready, describe)
    try:
        return give_order(plan.home, Order("up", mesh=plan.name), report)
    except NobodyUp:
        report(f"error: the mesh in {plan.home.root} is just stopping; try again")
        return 1


def _run_in_home(plan: Plan, record: UpRecord, report: Report, on_ready: OnReady, describe: Describe) -> int:
    spawned: list[Spawned] = []
    try:
        remains = stop_remains(record)
        if remains:
            report(f"ended what an earlier run left behind: {', '.join(remains)}")
        spawned.extend(spawn_all(plan, record))
        return asyncio.run(_Up(plan, record, report, on_ready, describe).run(spawned))
    except BaseException:  # nobody looks after these any more, and nobody would find them
        stop_remains(record)
        raise
    finally:
        record.release()
        with contextlib.suppress(OSError):  # others of this home may still use it
            plan.home.short_directory.rmdir()


class _Up:
    """One run. Orders are carried out one after the other; whoever gives one hears what is reported meanwhile."""

    def __init__(self, plan: Plan, record: UpRecord, report: Report, on_ready: OnReady, describe: Describe) -> None:
        self._plan = plan
        self._record = record
        self._terminal = report
        self._on_ready = on_ready
        self._describe = describe
        self._orders: asyncio.Queue[Received] = asyncio.Queue()
        self._listener: Report | None = None
        self._stop = asyncio.Event()

    async def run(self, spawned: Sequence[Spawned]) -> int:
        async with asyncio.TaskGroup() as group:
            supervisor = Supervisor(self._plan, self._record, self._report, self._describe, group)
            supervisor.begin(spawned)
            self._handle_signals(supervisor)
            async with taking_orders(self._plan.home, partial(self._take, supervisor)):
                life = group.create_task(self._live(supervisor))
                stopping = group.create_task(_wait(self._stop))
                await asyncio.wait({life, stopping}, return_when=asyncio.FIRST_COMPLETED)
                code = 0 if not life.done() else life.result()
                for task in (life, stopping):
                    task.cancel()
                await asyncio.gather(life, stopping, return_exceptions=True)
                self._report("stopping; press Ctrl-C again to hurry")
                await supervisor.stop()
            _ignore_signals()
            self._report("stopped")
        return code

    def _report(self, text: str) -> None:
        self._terminal(text)
        if self._listener is not None:
            self._listener(text)

    async def _live(self, supervisor: Supervisor) -> int:
        """Bring it up and carry out orders for ever; returns an exit code when it cannot be brought up."""
        file = self._plan.file
        follow = (run_file(file, partial(self._order_up, supervisor)),) if file is not None else ()
        async with _running(*follow):
            return await self._obey(supervisor)

    async def _obey(self, supervisor: Supervisor) -> int:
        try:
            await supervisor.start()
        except StartError as error:
            self._report(f"error: {error}")
            return 1
        urls = await first_urls(supervisor)
        self._on_ready(supervisor, urls)
        news = (run_problems(supervisor, self._report, self._describe), run_gateways(supervisor, self._report, urls))
        async with _running(*news, run_log_limits(supervisor)):
            while True:
                received = await self._orders.get()
                if self._orders.empty():
                    supervisor.superseded.clear()
                self._listener = received.say
                code = await self._carry_out(supervisor, received.order)
                self._listener = None
                if not received.done.done():
                    received.done.set_result(code)

    def _take(self, supervisor: Supervisor, received: Received) -> None:
        """An order came: unless it asks for what is under way, nobody waits for what does not get ready."""
        self._orders.put_nowait(received)
        if received.order.do in ("restart", "stop") and self._plan.file is not None:
            supervisor.superseded.set()

    def _order_up(self, supervisor: Supervisor) -> None:
        """weft.yaml was saved."""
        self._terminal(f"{self._plan.file} was saved")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._orders.put_nowait(Received(Order("up", mesh=self._plan.name), lambda _text: None, done))
        supervisor.superseded.set()

    async def _carry_out(self, supervisor: Supervisor, order: Order) -> int:
        try:
            if order.do == "wait":
                supervisor.check()
            elif order.do == "up":
                await self._up(supervisor, order.mesh)
            else:
                names = _known(order.names, supervisor)
                await (supervisor.restart(names) if order.do == "restart" else supervisor.halt(names))
        except MeshFileError as error:
            self._report(f"error: {supervisor.plan.file} cannot be used, and nothing was changed\n{error}")
            return 1
        except StartError as error:
            self._report(f"error: {error}")
            return 1
        except Exception:  # a fault of ours must not cost the mesh that is up
            self._report(f"error: a fault of weft's own\n{traceback.format_exc()}")
            return 1
        return 0

    async def _up(self, supervisor: Supervisor, mesh: str) -> None:
        plan = supervisor.plan
        if mesh != plan.name:
            raise StartError(
                f"another mesh is up in {plan.home.root}: {plan.name}; choose another --home, or end that one first "
                "with `weft down`"
            )
        if plan.file is not None:
            plan = dataclasses.replace(plan, mesh=read_meshfile(plan.file))
        await supervisor.up(plan)
        self._report(f"the mesh is up, {len(supervisor.units)} processes")
        if self._listener is not None:
            for name, listeners in (await mesh_urls(supervisor)).items():
                for port, url in listeners.items():
                    self._listener(f"{name}: listener {port} is at {url}")

    def _handle_signals(self, supervisor: Supervisor) -> None:
        def ask() -> None:
            if self._stop.is_set():
                if not supervisor.hurry.is_set():
                    self._report("hurrying")
                supervisor.hurry.set()
            self._stop.set()

        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, ask)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _known(names: Sequence[str], supervisor: Supervisor) -> list[str]:
    """The processes that are meant; all of them when none is named. Raises StartError."""
    for name in names:
        if name not in supervisor.units:
            if carrier := carrier_of(supervisor.plan.home, name):
                raise StartError(carried_text(name, carrier))
            near = difflib.get_close_matches(name, supervisor.units, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(supervisor.units)}"
            raise StartError(f"there is no process '{name}' in this mesh; {hint}")
    return list(dict.fromkeys(names)) or list(supervisor.units)


@contextlib.asynccontextmanager
async def _running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these, which never end, meanwhile."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _ignore_signals() -> None:
    """From now on there is nothing to stop any more, and what is left to do must be done."""
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
