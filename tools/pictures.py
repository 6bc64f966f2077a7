"""Take the pictures of the dashboard that README and docs show: a demo, some readers, a fault, a real Chromium.

Run it as ``./run pictures``; it writes ``docs/pictures/dashboard-*.png``. ``./run pictures --measure`` writes nothing
and prints how soon the page is there and how smoothly it zooms with 6, 60 and 500 made-up services.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import statistics
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from dashboard.browser import Looking, Scheme, looking, running_browser  # noqa: E402 - the tests' own browser
from dashboard.fake import running  # noqa: E402
from dashboard.world import World  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
WEFT = ROOT / ".venv" / "bin" / "weft"
FAULT = ROOT / "src" / "weft" / "bookinfo" / "try" / "ratings-delay.yaml"
_FIRST_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
_ZOOM = """async () => {
  const svg = document.querySelector(".graph svg");
  const taken = [];
  let last = performance.now();
  for (let turn = 0; turn < 60; turn += 1) {
    const place = { clientX: 600, clientY: 400, bubbles: true, cancelable: true };
    svg.dispatchEvent(new WheelEvent("wheel", { deltaY: turn % 2 ? 40 : -40, ...place }));
    await new Promise((done) => requestAnimationFrame(done));
    const now = performance.now();
    taken.push(now - last);
    last = now;
  }
  return taken.sort((one, other) => one - other)[30];
}"""
_READERS = 3
_PAGES = 1500
_SETTLED = 25.0
"""Seconds of traffic before the first picture, so that there is something to see."""


@contextlib.asynccontextmanager
async def running_demo() -> AsyncIterator[dict[str, Any]]:
    """The demo's facts while it runs."""
    command = os.environ.get("WEFT_VENV")
    weft = Path(command) / "bin" / "weft" if command else WEFT
    process = await asyncio.create_subprocess_exec(str(weft), "demo", "-o", "json", stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield json.loads(await process.stdout.readline())
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()


def _read(url: str) -> None:
    with contextlib.suppress(urllib.error.URLError, TimeoutError), urllib.request.urlopen(url, timeout=10) as answer:
        answer.read()


async def _reader(url: str) -> None:
    for _ in range(_PAGES):
        await asyncio.to_thread(_read, url)
        await asyncio.sleep(0.15)


async def _weft(home: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(str(WEFT), *arguments, env={**os.environ, "WEFT_HOME": home})
    if await process.wait():
        raise SystemExit(f"weft {' '.join(arguments)} failed")


async def _picture(page: Looking, name: str, place: str, wait: str = "main h1") -> None:
    await page.go(place)
    await page.page.wait_for_selector(wait)
    await page.page.wait_for_function("() => !/Asking the control plane/.test(document.body.innerText)")
    await asyncio.sleep(1.5)
    await page.page.screenshot(path=PICTURES / f"dashboard-{name}.png")
    print(f"docs/pictures/dashboard-{name}.png")


async def _well(demo: dict[str, Any], token: str) -> None:
    schemes: tuple[Scheme, ...] = ("light", "dark")
    async with running_browser() as browser:
        for scheme in schemes:
            async with looking(browser, demo["admin"], scheme=scheme, width=1280, height=720, token=token) as page:
                await _picture(page, f"graph-{scheme}", "#/graph", ".graph .node")
        async with looking(browser, demo["admin"], width=390, height=780, token=token) as page:
            await _picture(page, "phone", "#/services?open=service/default/reviews", "#detail .chart")


async def _wrong(demo: dict[str, Any], token: str) -> None:
    await _weft(demo["home"], "apply", "-f", str(FAULT), "--wait")
    async with running_browser() as browser:
        async with looking(browser, demo["admin"], width=1280, height=720, token=token) as page:
            await page.page.wait_for_selector("a.edge.bad", state="attached", timeout=60_000)
            await asyncio.sleep(5)
            await _picture(page, "fault", "#/graph?open=service/default/ratings", "#detail .chart")
            await page.page.get_by_role("link", name="see which").click()
            await page.page.wait_for_selector("#detail .ladder")
            await _picture(page, "why", await page.page.evaluate("() => location.hash"), "#detail .ladder")
        async with looking(browser, demo["admin"], scheme="dark", width=1280, height=720, token=token) as page:
            await page.go("#/history")
            await page.page.locator("tbody a").first.click()
            await page.page.get_by_role("button", name="Undo this change").click()
            await page.page.wait_for_selector("#detail .diff")
            await _picture(page, "undo", await page.page.evaluate("() => location.hash"), "#detail .diff")


async def measure() -> None:
    """First paint, the graph's first picture, and frames while zooming; medians, in milliseconds."""
    async with running_browser() as browser:
        for services in (6, 60, 500):
            async with running(World(services)) as where:
                firsts, graphs = [], []
                for _ in range(5):
                    async with looking(browser, where) as page:
                        await page.page.wait_for_selector(".graph .node", state="attached")
                        graphs.append(await page.page.evaluate("() => performance.now()"))
                        firsts.append(await page.page.evaluate(_FIRST_PAINT))
                async with looking(browser, where) as page:
                    await page.go("#/graph?fold=none")
                    await page.page.wait_for_selector(".graph .node", state="attached")
                    frame = await page.page.evaluate(_ZOOM)
            first, graph = statistics.median(firsts), statistics.median(graphs)
            print(f"{services} services: first paint {first:.0f}, graph {graph:.0f}, a frame of zooming {frame:.0f}")


async def main() -> None:
    """Take all of them."""
    async with running_demo() as demo:
        token = await asyncio.to_thread(Path(demo["token_file"]).read_text)
        token = token.strip()
        readers = [asyncio.create_task(_reader(f"{demo['gateway']}/productpage")) for _ in range(_READERS)]
        try:
            await asyncio.sleep(_SETTLED)
            await _well(demo, token)
            await _wrong(demo, token)
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(measure() if "--measure" in sys.argv[1:] else main())
