"""Starts a command that is nobody's child: ``python orphan.py PIPE GO COMMAND...``; see `weft.processes.watch`.

By the time the command is executed the process that started it has ended, so that its parent is the system's first
process (or a subreaper). Its pid goes to the descriptor PIPE, and the number of the error if it cannot be executed. It
is executed when a byte comes from the descriptor GO, and never if that ends: whoever would know of it is gone.
"""

from __future__ import annotations

import os
import sys
import time

_POLL = 0.0005


def main() -> None:
    """Leave the caller, then become the command."""
    pipe, go, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    starter = os.getpid()
    if os.fork():
        os._exit(0)
    os.setsid()
    while os.getppid() == starter:
        time.sleep(_POLL)
    for descriptor in (pipe, go):
        os.set_inheritable(descriptor, False)
    os.write(pipe, b"%d\n" % os.getpid())
    if not os.read(go, 1):
        os._exit(0)
    try:
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(pipe, b"%d\n" % (error.errno or 1))
        os._exit(127)


if __name__ == "__main__":
    main()
