"""`weft top`: the live table of traffic, on the whole terminal."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from weft.cli.failure import FailedError
from weft.cli.looking import Looking, looking_options
from weft.cli.options import command, home_option
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.cli.screen import View

_EVERY = 2.0
_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME = "\x1b[H"
_REST = "\x1b[K"
_BELOW = "\x1b[J"
_KEYS = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down", b"\x1b": "escape"}
_KEYS |= {b"\r": "enter", b"\n": "enter", b"\x7f": "erase", b"\x08": "erase", b"\x03": "quit", b"\x04": "quit"}


@command("top", "weft top", "weft top --by edge", "weft top --window 5m -n shop")
@home_option
@click.option(
    "--by",
    type=click.Choice(["service", "workload", "route", "edge"]),
    default="service",
    show_default=True,
    help="What a line is about; the key b changes it.",
)
@looking_options
def top(*, home: Home, by: str, window: float, namespace: tuple[str, ...], prometheus: str | None) -> int:
    """Show traffic as it goes, on the whole terminal.

    Keys: s sorts by the next column and r the other way round, b changes what a line is about, / asks for a part of a
    name, the arrows move, q ends. Lines with failures are coloured. The figures are those of the window.
    """
    from weft.cli.screen import View

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise FailedError("weft top needs a terminal; for programs there is: weft stat -o json")
    view = View(by=by)
    looking = Looking(home, window, namespace, (), prometheus)
    looking.look(view.group)  # what is wrong is said before the screen is taken
    with _whole_screen():
        _run(looking, view)
    return 0


def _run(looking: Looking, view: View) -> None:
    """Look every two seconds and heed keys in between, until the end is asked for."""
    from weft.cli.screen import drawn

    asked = ""
    due = 0.0
    while True:
        if time.monotonic() >= due or asked != view.group:
            asked, due = view.group, time.monotonic() + _EVERY
            view.take(_answer(looking, view))
        columns, lines = shutil.get_terminal_size()
        _show(drawn(view, looking, columns, lines))
        for key in _keys(max(0.0, due - time.monotonic())):
            if key == "quit" or not view.press(key):
                return


def _answer(looking: Looking, view: View) -> dict[str, object] | str:
    """What is there to show, or why there is nothing."""
    from weft.local.client import RefusedError, UnreachableError

    try:
        return looking.look(view.group)
    except (UnreachableError, RefusedError, FailedError) as error:
        return str(error)


def _show(lines: list[str]) -> None:
    text = _HOME + "\r\n".join(line + _REST for line in lines) + _BELOW
    sys.stdout.write(text)
    sys.stdout.flush()


def _keys(seconds: float) -> Iterator[str]:
    """Keys that are pressed within so many seconds, or none when the terminal's size has changed."""
    ready, _, _ = select.select([sys.stdin, *_resized], [], [], seconds)
    if _resized and _resized[0] in ready:
        os.read(_resized[0], 64)
    if sys.stdin in ready:
        data = os.read(sys.stdin.fileno(), 64)
        if not data:
            yield "quit"
        elif data in _KEYS:
            yield _KEYS[data]
        else:
            yield from (_KEYS.get(bytes((byte,)), chr(byte)) for byte in data if byte != 0x1B)


_resized: list[int] = []
"""The end of a pipe that has something to read when the terminal's size has changed."""


@contextlib.contextmanager
def _whole_screen() -> Iterator[None]:
    """The terminal's other screen, without echo; however this ends, the terminal is as it was before."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    out, into = os.pipe()
    os.set_blocking(into, False)
    _resized.append(out)

    def resized(_number: int, _frame: object) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(into, b".")

    former = {number: signal.getsignal(number) for number in (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGWINCH, resized)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        tty.setcbreak(descriptor)
        sys.stdout.write(_ENTER)
        yield
    except KeyboardInterrupt:
        pass
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        for number, handler in former.items():
            signal.signal(number, handler)
        _resized.clear()
        os.close(out)
        os.close(into)


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)
