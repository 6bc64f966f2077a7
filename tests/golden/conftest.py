"""The option that rewrites golden files."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``pytest tests/golden --update-golden``."""
    parser.addoption("--update-golden", action="store_true", help="rewrite expected files from what is compiled now")
