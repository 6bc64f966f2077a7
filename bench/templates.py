"""The hand-written Envoy configurations of bench/envoy, with ports and paths filled in."""

from __future__ import annotations

import string
from pathlib import Path

TEMPLATES = Path(__file__).parent / "envoy"


def write_configuration(template: str, directory: Path, name: str, /, **values: str) -> Path:
    """Fill in bench/envoy/`template`.yaml and write it to `directory`/`name`.yaml."""
    text = (TEMPLATES / f"{template}.yaml").read_text(encoding="utf-8")
    path = directory / f"{name}.yaml"
    path.write_text(string.Template(text).substitute(values), encoding="utf-8")
    return path
