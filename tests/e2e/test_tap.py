"""weft tap on a real mesh: both sides of each request, nothing secret, and nothing left on however it ends."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.http import Client
from support.mesh import WEFT, Mesh, until
from weft.agent.envoy_place import LARGEST_FILE
from weft.agent.http import Server, ask
from weft.xds.signals.journal import JOURNAL_FILE, TAP_FILE, TAP_KEY

SECRETS = {"Authorization": "Bearer geheim", "Cookie": "a=geheim", "X-Api-Key": "geheim", "End-User": "jason"}


def switched(world: Mesh, name: str) -> bool:
    """Whether the tap of a workload's Envoy is on."""
    socket = Server(path=world.home / "workloads" / "default" / name / "admin.sock")
    answer = asyncio.run(ask(socket, "GET", "/runtime", timeout=5.0))
    value = json.loads(answer.body)["entries"].get(TAP_KEY, {}).get("final_value", "0")
    return bool(value == "100")


@contextmanager
def tapping(world: Mesh, output: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*WEFT, "tap", *words, "-o", "json"],
            stdout=file,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "WEFT_HOME": str(world.home)},
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_text().splitlines() if line.endswith("}")]


def test_two_people_see_both_sides_and_nothing_stays_on(world: Mesh, client: Client, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with tapping(world, first, "client", "--path", "/seen") as one, tapping(world, second, "client", "--limit", "1"):
        until("the tap is on", lambda: switched(world, "client"))

        def both() -> bool:
            client("http://echo/seen?password=geheim", headers=SECRETS)
            client("http://echo/other", headers=SECRETS)
            found = lines(first)
            sides = {(line["id"], line["side"]) for line in found}
            return any((name, "outbound") in sides and (name, "inbound") in sides for name, _ in sides)

        until("both sides are seen", both)
        until("the other has its one", lambda: len(lines(second)) == 1)
        found = lines(first)
        assert {line["path"] for line in found} == {"/seen?password=***"}
        assert {line["workload"].split("-")[0] for line in found} <= {"default/client", "default/echo"}
        assert all(line["headers"]["end-user"] == "jason" for line in found)
        assert "geheim" not in first.read_text() + second.read_text()
        assert switched(world, "client"), "the other one still watches"
        one.send_signal(signal.SIGINT)
        one.wait(30)
        until("nothing is on", lambda: not any(switched(world, name) for name in ("client", "echo-v1", "echo-v2")))
        tap_file = world.home / "workloads" / "default" / "client" / TAP_FILE
        assert tap_file.stat().st_mode & 0o777 == 0o600
        until("nothing is left in the file", lambda: tap_file.stat().st_size == 0)


def test_an_envoy_that_is_started_again_is_tapped_again_and_a_killed_watcher_leaves_nothing_on(
    world: Mesh, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with tapping(world, output, "other", "--seconds", "120") as process:
        until("the tap is on", lambda: switched(world, "other"))
        before = world.state("other")["envoy"]["pid"]
        os.kill(before, signal.SIGKILL)
        until("there is another Envoy", lambda: (world.state("other")["envoy"] or {}).get("pid", before) != before)
        until("the tap is on again", lambda: switched(world, "other"))
        process.kill()
        until("it is off", lambda: not switched(world, "other"))
    world.wait_healthy("other")
    caller = Client(world.proxy_of("client"))
    until("it serves again", lambda: caller("http://other/").status == 200)
    caller.close()


def test_failed_requests_are_listed_as_text_and_followed(world: Mesh, client: Client) -> None:
    assert client("http://other/status/507?token=geheim").status == 507

    def listed() -> str:
        text = world.weft("requests", "client", "--failed").stdout
        return text if "/status/507" in text else ""

    def both() -> list[dict[str, Any]]:
        found = json.loads(world.weft("requests", "--failed", "-o", "json").stdout)
        told = [one for one in found if one["path"] == "/status/507"]
        return told if {one["workload"] for one in told} == {"default/client", "default/other"} else []

    text = until("it is listed", listed)
    assert "geheim" not in text
    assert "token" not in text
    mine = until("both sides have told of it", both)
    assert len({one["id"] for one in mine}) == 1
    text = world.weft("explain", mine[0]["id"], check=False).stdout
    assert "the application of other.default answered 507 itself" in text


def test_lines_that_nobody_reads_do_not_fill_the_disk(world: Mesh, client: Client) -> None:
    """Without an agent, Envoy goes on writing what fails: up to its limit, and serves on."""
    pid = world.state("echo-v2")["envoy"]["pid"]
    assert resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] == LARGEST_FILE
    agent = world.processes["echo-v2"].process
    journal = world.home / "workloads" / "default" / "echo-v2" / JOURNAL_FILE
    agent.send_signal(signal.SIGSTOP)
    try:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

        def full() -> bool:
            for _ in range(50):
                client("http://echo/status/500")
            return journal.stat().st_size > 15_000

        until("it is as large as it may be", full)
        for _ in range(100):
            assert client("http://echo/status/500").status == 500
        assert journal.stat().st_size <= 20_000
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (LARGEST_FILE, resource.RLIM_INFINITY))
        agent.send_signal(signal.SIGCONT)
    until("the agent reads again", lambda: journal.stat().st_size == 0)
    assert world.state("echo-v2")["envoy"]["pid"] == pid
