"""HashiCorp Consul, of the last releases under the Mozilla Public License, for tests. ``./run consul`` builds it."""

from __future__ import annotations

import sys

from tools.go_programs import GoPrograms, NotBuiltError

PROGRAMS = GoPrograms("consul", {"consul": "./server"})
program = PROGRAMS.program
__all__ = ["NotBuiltError", "program"]

if __name__ == "__main__":
    sys.exit(PROGRAMS.run())
