"""The CNI plugin of weft, which container runtimes call. ``./run images`` builds it, for the image weft-cni."""

from __future__ import annotations

import sys

from tools.go_programs import GoPrograms, NotBuiltError

NAME = "weft-cni"
PROGRAMS = GoPrograms("cni", {NAME: "./plugin"})
program = PROGRAMS.program
__all__ = ["NAME", "PROGRAMS", "NotBuiltError", "program"]

if __name__ == "__main__":
    sys.exit(PROGRAMS.run())
