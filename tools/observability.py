"""Jaeger and an OpenTelemetry collector for tests and examples: ``./run observability`` builds them."""

from __future__ import annotations

import sys

from tools.go_programs import GoPrograms, NotBuiltError

PROGRAMS = GoPrograms(
    "observability", {"jaeger": "github.com/jaegertracing/jaeger/cmd/jaeger", "collector": "./collector"}
)
program = PROGRAMS.program
__all__ = ["NotBuiltError", "program"]

if __name__ == "__main__":
    sys.exit(PROGRAMS.run())
