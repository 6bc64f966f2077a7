"""Job control: a process that wants the terminal gets it, one that does not leaves Ctrl-C to us, Ctrl-Z stops both."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.mesh import alive, until
from support.terminal import CTRL_C, CTRL_D, CTRL_Z, Person, person_at_a_terminal

HOST = f"{sys.executable} {Path(__file__).with_name('sharing.py')}"
READS = f"""{sys.executable} -c 'print("got", input("name? "))'"""


@pytest.fixture
def person() -> Iterator[Person]:
    with person_at_a_terminal() as person:
        yield person


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def foreground(pid: int) -> int:
    """The process group in front of the terminal of `pid`."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[5])


def started(person: Person, command: str) -> tuple[int, int]:
    """The pids of host and application."""
    person.types(f"{HOST} {command}\n")
    found = person.sees(r"host: (\d+) application: (\d+)")
    return int(found[1]), int(found[2])


def test_what_is_typed_reaches_an_application_that_reads(person: Person) -> None:
    started(person, READS)
    person.sees(r"name\? ")
    person.types("ada\n")
    person.sees("got ada")
    person.sees("host: ended with 0")
    person.sees("outer> ")


def test_ctrl_c_is_ours_while_the_application_does_not_read(person: Person) -> None:
    _, application = started(person, "sleep 600")
    person.types(CTRL_C)
    person.sees("host: interrupted")
    person.sees("host: ended with 143")
    assert not alive(application)


def test_ctrl_c_is_its_own_once_it_reads(person: Person) -> None:
    _, application = started(person, READS)
    until("it has the terminal", lambda: foreground(application) == application)
    person.types(CTRL_C)
    person.sees("KeyboardInterrupt")
    person.sees("host: ended with")
    assert "interrupted" not in person.seen


def test_ctrl_z_stops_both_and_fg_continues_both(person: Person) -> None:
    host, application = started(person, "sleep 600")
    person.types(CTRL_Z)
    person.sees("Stopped")
    until("both stand still", lambda: state(host) == state(application) == "T")
    person.types("bg\n")
    until("both go on", lambda: "T" not in (state(host), state(application)))
    person.types("fg\n")
    until("it is in front", lambda: foreground(host) == host)
    person.types(CTRL_C)
    person.sees("host: ended with 143")


def test_ctrl_z_and_fg_of_an_application_that_has_the_terminal(person: Person) -> None:
    host, application = started(person, READS)
    until("it has the terminal", lambda: foreground(application) == application)
    person.types(CTRL_Z)
    person.sees("Stopped")
    until("both stand still", lambda: state(host) == state(application) == "T")
    person.types("fg\n")
    person.sees("sharing.py")
    until("it goes on", lambda: state(application) == "S")
    person.types("ada\n")
    person.sees("got ada")
    person.sees("host: ended with 0")


def test_in_the_background_it_waits_until_it_is_brought_to_the_front(person: Person) -> None:
    _, application = started(person, f"{READS} &")
    person.types("\n")
    until("it stands still", lambda: state(application) == "T")
    person.sees("outer> ")
    person.types("fg\n")
    person.sees("sharing.py")
    until("it goes on", lambda: state(application) == "S")
    person.types("ada\n")
    person.sees("got ada")


def test_in_the_background_of_nobody_there_is_nothing_to_read(person: Person) -> None:
    """No shell could bring it to the front, and the kernel does not stop us with it: it may not go round in circles."""
    person.types(f"""bash -c '(while kill -0 $$; do :; done; exec {HOST} cat) </dev/tty &'\n""")
    person.sees("outer> ")
    person.sees("host: ended with 0")


def test_a_shell_inside_has_its_own_job_control(person: Person) -> None:
    started(person, "env PS1='inner% ' bash --norc --noprofile -i")
    person.sees("inner% ")
    person.types("cat\n")
    person.types("echo\n")
    person.sees("echo")
    person.types(CTRL_Z)
    person.sees("Stopped")
    person.sees("inner% ")
    person.types("fg\n")
    person.sees("cat\r\n")
    person.types("again\n")
    person.sees("again\r\nagain")
    person.types(CTRL_D)
    person.sees("inner% ")
    person.types("exit 7\n")
    person.sees("host: ended with 7")
    person.sees("outer> ")


def test_the_terminal_is_as_it_was_after_an_application_that_was_killed(person: Person) -> None:
    script = "import os, signal, tty; tty.setraw(0); os.kill(0, signal.SIGKILL)"
    started(person, f"{sys.executable} -c '{script}'")
    person.sees("host: ended with 137")
    person.sees("outer> ")
    person.types("stty -a\n")
    person.sees(" ?isig icanon iexten echo ")
