"""Whom a mesh asks, for tests: an OpenID provider, and Open Policy Agent behind Envoy's protocol. ``./run providers``
builds them."""

from __future__ import annotations

import sys

from tools.go_programs import GoPrograms, NotBuiltError

PROGRAMS = GoPrograms("providers", {"identity": "./identity", "authorizer": "./authorizer"})
program = PROGRAMS.program
__all__ = ["NotBuiltError", "program"]

if __name__ == "__main__":
    sys.exit(PROGRAMS.run())
