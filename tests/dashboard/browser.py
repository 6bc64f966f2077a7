"""A real Chromium that looks at the dashboard: how it is started, signed in, and what must not happen on any page."""

from __future__ import annotations

import contextlib
import importlib.resources
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from dashboard.fake import TOKEN

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WATCH = """
window.owned = 0;
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
Scheme = Literal["light", "dark"]
expect.set_options(timeout=30_000)  # a machine may be busy


def chromium() -> str:
    """Debian's Chromium; no browser is downloaded."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "tests of the page need Debian's chromium: .ci/run installs it"
    return found


@contextlib.asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


async def one_time_address(where: str, token: str = TOKEN) -> str:
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.post(f"{where}/v1/dashboard") as response:
        url: str = (await response.json())["url"]
        return url


@dataclass
class Looking:
    """A signed-in page, and everything that went wrong on it."""

    where: str
    context: BrowserContext
    page: Page
    faults: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    async def go(self, place: str) -> None:
        """Show a place, and wait until it is there."""
        await self.page.evaluate("place => { location.hash = place; }", place)
        await self.page.wait_for_function(
            "place => decodeURIComponent(location.hash) === decodeURIComponent(place)", arg=place
        )
        await self.page.evaluate("() => new Promise((done) => setTimeout(() => requestAnimationFrame(done), 60))")

    async def violations(self) -> list[str]:
        found: list[str] = await self.page.evaluate("() => window.violations")
        return found

    async def owned(self) -> int:
        found: int = await self.page.evaluate("() => window.owned")
        return found

    def watch(self, page: Page) -> None:
        """Note faults of a page."""
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", lambda one: self.faults.append(f"console: {one.text}") if one.type == "error" else None)

    def check(self) -> None:
        """Nothing went wrong but what was to be expected."""
        assert not [one for one in self.faults if not any(text in one for text in self.expected)], self.faults


@contextlib.asynccontextmanager
async def watched(
    browser: Browser, where: str = "", *, scheme: Scheme = "light", width: int = 1440, height: int = 900
) -> AsyncIterator[Looking]:
    """An empty page of a new profile; what goes wrong on it is noted."""
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    await context.add_init_script(WATCH)
    page = await context.new_page()
    found = Looking(where, context, page)
    found.watch(page)
    try:
        yield found
    finally:
        await context.close()


@contextlib.asynccontextmanager
async def looking(
    browser: Browser, where: str, *, scheme: Scheme = "light", width: int = 1440, height: int = 900, token: str = TOKEN
) -> AsyncIterator[Looking]:
    """A browser's page that is signed in and shows its first picture."""
    async with watched(browser, where, scheme=scheme, width=width, height=height) as found:
        await found.page.goto(await one_time_address(where, token))
        await found.page.wait_for_selector(".pill:not(:text('…'))")
        yield found


async def serious_violations(page: Page) -> list[dict[str, Any]]:
    """What axe finds on the page and calls serious or critical."""
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate((importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text())
    results: dict[str, Any] = await page.evaluate("() => axe.run()")
    return [one for one in results["violations"] if one["impact"] in {"serious", "critical"}]
