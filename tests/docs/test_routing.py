"""The table of precedence in docs/routing.md: every row has a case, and what the row says is what the mesh does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from support.meshdocs import Compiled, documents, service, short, workload

ROOT = Path(__file__).parents[2]
CASES = sorted((Path(__file__).parent / "routing").glob("*.yaml"))
SERVICES = "".join(service(name) for name in ("web", "a", "b", "c"))
MORE = service("two", 80, 81) + service("far", namespace="other")
EDGE = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weft
  listeners:
    - {name: http, port: 80, protocol: HTTP}
    - {name: shop, port: 80, protocol: HTTP, hostname: "*.shop.example"}
"""
RUNNING = [workload(name, number=number) for number, name in enumerate(("a", "b", "c"))]


def test_every_row_has_a_case() -> None:
    page = (ROOT / "docs/routing.md").read_text()
    table = page[page.index("| case | where |") : page.index("## gRPC")]
    rows = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    assert sorted(rows) == sorted(path.stem for path in CASES)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_row_holds(path: Path) -> None:
    first, *texts = path.read_text().split("---\n")
    case = yaml.safe_load(first)
    assert case["row"] == path.stem
    written = [documents(text, f"{number}.yaml", created=float(number)) for number, text in enumerate(texts, 1)]
    mesh = Compiled(SERVICES, MORE, EDGE, *written, workloads=RUNNING)
    other = workload("client", namespace="other")
    for words, expected in case.get("ask", {}).items():
        url, headers = _split(words)
        assert short(mesh.ask(url, headers=headers)) == expected, words
    for words, expected in case.get("ask-from-other", {}).items():
        assert short(mesh.ask(words, other)) == expected, words
    for words, expected in case.get("knock", {}).items():
        assert short(mesh.knock("edge", words)) == expected, words
    assert sorted(mesh.codes) == case["problems"]


def _split(words: str) -> tuple[str, dict[str, str]]:
    """A URL, and headers behind it: ``web/x x-h=1``."""
    url, *headers = words.split(" ")
    return url, {name: value for name, _, value in (header.partition("=") for header in headers)}
