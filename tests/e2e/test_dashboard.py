"""The dashboard in a real Chromium over the demo: live numbers of every workload, a fault seen, explained, undone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from dashboard.browser import running_browser, watched
from support.demo import Demo
from support.http import Client
from support.mesh import cli

WORKLOADS = ("productpage-v1", "details-v1", "reviews-v1", "reviews-v2", "reviews-v3", "ratings-v1")
FAULT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http:
    - fault: {abort: {percentage: {value: 100}, httpStatus: 503}}
      route: [{destination: {host: ratings}}]
"""
PATIENCE = 60_000
"""Milliseconds: a machine may be busy. How soon it is really seen is measured elsewhere."""


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[dict[str, Any]]:
    demo = Demo(tmp_path / "demo")
    try:
        yield demo.facts()
    finally:
        demo.interrupt()


@contextlib.contextmanager
def readers(facts: dict[str, Any]) -> Iterator[None]:
    """Somebody reads the page again and again, five thousand times at most."""
    done = threading.Event()

    def read() -> None:
        client = Client()
        for _ in range(5000):
            if done.wait(0.05):
                break
            client(f"{facts['gateway']}/productpage")
        client.close()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


async def test_a_newcomer_sees_the_demo_and_finds_out_what_is_wrong(demo: dict[str, Any], tmp_path: Path) -> None:
    fault = tmp_path / "fault.yaml"
    fault.write_text(FAULT)
    async with running_browser() as browser:
        with readers(demo):
            async with watched(browser) as looking:
                page = looking.page
                await page.goto(demo["dashboard"])
                await expect(page).to_have_url(f"{demo['admin']}/#/graph")
                await sees_every_workload_with_numbers(page)
                assert cli(demo["home"], "apply", "-f", str(fault), "--wait").returncode == 0
                broken = page.locator('.node.bad[data-id="default/ratings"]')
                await expect(broken).to_be_visible(timeout=PATIENCE)
                await finds_the_rule(page, str(fault))
                await undoes_it(page)
                await expect(broken).to_have_count(0, timeout=PATIENCE)
                await expect(page.locator('.node[data-id="default/ratings"]')).to_be_visible()
                assert '"dashboard"' in cli(demo["home"], "history", "-o", "json").stdout, "who has undone it"
                looking.check()
                assert await looking.violations() == []


async def sees_every_workload_with_numbers(page: Page) -> None:
    graph = page.locator(".graph")
    for name in WORKLOADS:
        await expect(graph.locator(f'[aria-label*="{name}"]')).to_have_count(1, timeout=PATIENCE)
    for service in ("productpage", "details", "reviews", "ratings"):
        node = graph.locator(f'.node[data-id="default/{service}"]')
        await expect(node).not_to_contain_text("no requests", timeout=PATIENCE)
        await expect(node).to_contain_text("100 %")
    await expect(graph.locator("a.edge .lock")).to_have_count(4, timeout=PATIENCE)
    await expect(graph.locator("a.edge.bad")).to_have_count(0)


async def finds_the_rule(page: Page, file: str) -> None:
    await page.locator('.node[data-id="default/ratings"]').click()
    await page.get_by_role("link", name="of requests fail").first.click(timeout=PATIENCE)
    await page.locator("#detail").get_by_role("link", name="explain").first.click(timeout=PATIENCE)
    answer = page.locator("#detail .answer")
    await expect(answer).to_contain_text("503", timeout=PATIENCE)
    await expect(answer).to_contain_text("fault")
    await expect(page.locator("#detail .ladder")).to_contain_text("VirtualService default/ratings")
    await expect(page.locator("#detail .ladder .place").first).to_contain_text(f"{file.rpartition('/')[2]}:")


async def undoes_it(page: Page) -> None:
    await page.locator("#detail").get_by_role("link", name="since revision").first.click()
    await page.get_by_role("button", name="Undo this change").click()
    await expect(page.locator("#detail .diff .minus").first).to_be_visible()
    await page.get_by_role("button", name="Undo it").click()
    await expect(page.get_by_text("have confirmed.")).to_be_visible(timeout=PATIENCE)
    await page.keyboard.press("Escape")
