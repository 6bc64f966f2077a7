"""HashiCorp Vault's own core with its PKI engine, for tests. ``./run vault`` builds it."""

from __future__ import annotations

import sys

from tools.go_programs import GoPrograms, NotBuiltError

PROGRAMS = GoPrograms("vault", {"vault": "./server"})
program = PROGRAMS.program
__all__ = ["NotBuiltError", "program"]

if __name__ == "__main__":
    sys.exit(PROGRAMS.run())
