"""`weft run` at a terminal, as a person uses it: a shell inside the mesh, with its job control."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from support.mesh import WEFT, Mesh, alive, until
from support.terminal import CTRL_C, CTRL_Z, person_at_a_terminal

PARTS = ("agent", "envoy", "application")


def test_a_shell_in_the_mesh(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    weft = f"{shlex.join(WEFT)} run --quiet --home {mesh.home} --name"
    try:
        mesh.serve()
        with person_at_a_terminal() as person:
            person.types(f"{weft} shell -- env PS1='inside% ' bash --norc --noprofile -i\n")
            person.sees("inside% ")
            mesh.wait_healthy("shell")
            person.types("sh -c 'echo ${HTTP_PROXY:+with}-proxy; exec sleep 600'\n")
            person.sees("\r\nwith-proxy")  # said by what is in the foreground now
            person.types(CTRL_Z)
            person.sees("Stopped")
            person.types(f"{sys.executable} -c 'breakpoint()'\n")
            person.sees("Pdb")
            person.types("print(6 * 7)\n")
            person.sees("\r\n42")
            person.types("exit\n")
            person.sees("inside% ")
            state = mesh.state("shell")
            person.types("exit\n")
            person.sees("There are stopped jobs")
            person.types("exit 3\n")
            person.sees("outer> ")
            person.types("echo code $?\n")
            person.sees("code 3")
            assert not any(alive(state[name]["pid"]) for name in PARTS)
            person.types(f"{weft} quiet -- sleep 600\n")
            mesh.wait_healthy("quiet")
            person.types(CTRL_C)
            person.sees("outer> ")
            person.types("echo code $?\n")
            person.sees("code 143")
            person.types(f"{weft} hung -- bash --norc --noprofile -i\n")
            mesh.wait_healthy("hung")
            state = mesh.state("hung")
        until("closing the terminal ends it", lambda: not any(alive(state[name]["pid"]) for name in PARTS), 60)
    finally:
        mesh.stop()
