"""The page in a real Chromium, over made-up traffic: views, keys, phones, both themes, what is away or hostile."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

import click
import pytest
from playwright.async_api import Browser, expect

from dashboard.browser import Looking, Scheme, looking, one_time_address, running_browser, serious_violations
from dashboard.fake import running
from dashboard.world import World
from weft.cli.main import weft

NONE = "\u2013"
VIEWS = (
    "graph",
    "services",
    "routes",
    "policies",
    "proxies",
    "problems",
    "history",
    "tap",
    "certificates",
    "authorization",
)
DETAILS = (
    "service/default/reviews",
    "workload/default/reviews-v1",
    "edge/default%2Fproductpage/default%2Freviews",
    "document/VirtualService/default/reviews",
    "proxy/reviews-v1.default",
    "revision/41",
    "failures/default%2Fratings",
    "request/8f14e45f-ceea-467f-a0e6-000000000001",
    "explain&from=default%2Fproductpage-v1&url=http%3A%2F%2Freviews%3A9080%2F",
)
HOSTILE = """"'><img src=x onerror=window.owned=1><script>window.owned=2</script><svg onload=window.owned=3>{{7*7}}"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Looking]:
    """The demo's services, all well."""
    async with running(World()) as where, looking(browser, where) as page:
        yield page
        page.check()
        assert await page.violations() == []


async def test_signed_in_once_for_every_tab_and_reload(page: Looking) -> None:
    assert page.page.url == f"{page.where}/#/graph", "the key is taken out of the address"
    await page.go("#/history?open=revision/41&range=300")
    await page.page.reload()
    await expect(page.page.locator("#detail h1")).to_have_text("41")
    await expect(page.page.locator(".range [aria-current]")).to_have_text("5 min")
    second = await page.context.new_page()
    page.watch(second)
    await second.goto(f"{page.where}/#/services")
    await expect(second.get_by_role("link", name="reviews", exact=True)).to_be_visible()


async def test_a_stranger_is_told_how_to_come_in(browser: Browser) -> None:
    async with running(World()) as where:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(where)
        await expect(page.get_by_text("weft dashboard")).to_be_visible()
        await context.close()


async def test_the_graph_shows_services_and_what_fails_turns_red_by_itself(browser: Browser) -> None:
    world = World()
    async with running(world) as where, looking(browser, where) as page:
        await expect(page.page.locator(".graph .node")).to_have_count(5)
        ratings = page.page.locator('.node[data-id="default/ratings"]')
        await expect(ratings).to_contain_text("100 %")
        before = await ratings.get_attribute("transform")
        assert await page.page.locator("a.edge.bad").count() == 0
        await expect(page.page.locator(".pill")).to_have_text("● All well")
        world.broken.add("default/ratings")
        await expect(page.page.locator('.node.bad[data-id="default/ratings"]')).to_be_visible()
        await expect(page.page.locator(".pill")).to_contain_text("1 finding")
        assert await ratings.get_attribute("transform") == before, "nobody moves"
        await ratings.click()
        await page.page.get_by_role("link", name="of requests fail").click()
        await page.page.get_by_role("link", name="explain").first.click()
        await expect(page.page.locator("#detail .answer")).to_contain_text("503")
        await expect(page.page.locator("#detail .ladder")).to_contain_text("reviews.yaml:12")
        page.check()


async def test_who_may_call_whom_stands_in_the_matrix_with_the_policy(page: Looking) -> None:
    await page.go("#/authorization")
    matrix = page.page.get_by_role("region", name="Who may call whom")
    row = matrix.get_by_role("row").filter(has_text="productpage")
    await expect(row.locator("td.warn")).to_have_text("▲ some 1")
    await expect(row.locator("td.warn")).to_have_attribute(
        "title", "AuthorizationPolicy default/reviews reviews.yaml:3"
    )
    await expect(matrix.locator("td.bad").first).to_have_text("◆ no")
    await expect(page.page.locator(".notes li")).to_contain_text("only to method GET")
    await expect(page.page.get_by_role("region", name="Callers and callees")).to_be_visible()


async def test_undo_shows_its_difference_first(browser: Browser) -> None:
    world = World()
    async with running(world) as where, looking(browser, where) as page:
        await page.go("#/history?open=revision/41")
        await page.page.get_by_role("button", name="Undo this change").click()
        await expect(page.page.get_by_role("heading", name="Undo would change this")).to_be_visible()
        await expect(page.page.locator("#detail .diff .plus").first).to_be_visible()
        assert world.undone == []
        await page.page.get_by_role("button", name="Undo it").click()
        await expect(page.page.get_by_text("7 proxies have confirmed")).to_be_visible()
        assert world.undone == [{"revision": 41}]
        page.check()


async def test_everything_by_keyboard(page: Looking) -> None:
    keys, one = page.page.keyboard, page.page
    await keys.press("Tab")
    await expect(one.get_by_text("Skip to the content")).to_be_focused()
    await keys.press("Enter")
    await expect(one.locator("#main")).to_be_focused()
    await keys.press("/")
    await expect(one.locator("#search")).to_be_focused()
    await keys.type("ratings")
    await expect(one.get_by_role("option").first).to_contain_text("default/ratings")
    await keys.press("Enter")
    await expect(one.locator("#detail h1")).to_have_text("default/ratings")
    await expect(one.locator("#detail")).to_be_focused()
    await keys.press("Escape")
    await expect(one.locator("#detail")).to_have_count(0)
    await one.locator('.node[tabindex="0"]').focus()
    names = [await one.evaluate("() => document.activeElement.dataset.id")]
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        await keys.press(key)
        names.append(await one.evaluate("() => document.activeElement.dataset.id"))
    assert names[0] == names[-1] or len(set(names)) > 1
    assert names[1] == "default/productpage"
    await keys.press("Enter")
    await expect(one.locator("#detail h1")).to_have_text(names[-1])
    await keys.press("t")
    await expect(one.get_by_role("region", name="Calls between services")).to_be_visible()
    await keys.press("7")
    await expect(one.get_by_role("heading", name="History")).to_be_visible()


async def test_the_table_has_the_numbers_of_the_graph(page: Looking) -> None:
    await page.go("#/graph?as=table")
    rows = page.page.locator("tbody tr")
    await expect(rows).to_have_count(4)
    await expect(rows.filter(has_text="default/details")).to_contain_text("mutual TLS")
    await page.page.get_by_role("button", name="Requests").click()
    await expect(page.page.locator("th[aria-sort=descending]")).to_contain_text("Requests")


async def test_zero_no_data_and_unknown_differ(browser: Browser) -> None:
    world = World()
    world.missing |= {"/v1/graph"}
    async with running(world) as where, looking(browser, where) as page:
        page.expected = ("404",)
        await page.go("#/services?open=service/default/ratings")
        await expect(page.page.locator("#detail .figures")).to_contain_text("?")
        world.missing.clear()
    async with running(World(60)) as where, looking(browser, where) as page:
        await page.go("#/graph?as=table")
        quiet = page.page.locator("tbody tr").filter(has_text="meant, unused").first
        await expect(quiet).to_contain_text(NONE)


async def test_a_control_plane_that_knows_less_shows_what_would_be_there(browser: Browser) -> None:
    world = World()
    world.missing |= {"/v1/graph", "/v1/traffic", "/v1/traffic/series", "/v1/history", "/v1/check", "/v1/requests"}
    async with running(world) as where, looking(browser, where) as page:
        page.expected = ("404",)
        for view in VIEWS:
            await page.go(f"#/{view}?open=service/default/reviews")
            await expect(page.page.locator("main h1")).to_be_visible()
            await expect(page.page.locator(".notice")).to_have_count(0)
        page.check()


async def test_a_control_plane_that_is_away_leaves_its_last_picture(browser: Browser) -> None:
    async with contextlib.AsyncExitStack() as page_stack:
        async with running(World()) as where:
            page = await page_stack.enter_async_context(looking(browser, where))
            page.expected = ("ERR_", "Failed to load", "401")
            await expect(page.page.locator(".graph .node")).to_have_count(5)
        await expect(page.page.get_by_text("The control plane is away")).to_be_visible()
        await expect(page.page.locator(".graph .node")).to_have_count(5)
        await expect(page.page.locator(".app.away")).to_have_count(1)
        port = urlsplit(where).port
        assert port
        async with running(World(), port):
            await expect(page.page.get_by_text("This session has ended")).to_be_visible()
            await expect(page.page.locator(".graph .node")).to_have_count(5)
            await page.page.goto(await one_time_address(where))
            await expect(page.page.locator(".pill")).to_have_text("● All well")
            await expect(page.page.locator(".notice")).to_have_count(0)
        page.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_accessibility(browser: Browser, scheme: Scheme) -> None:
    world = World()
    world.broken.add("default/ratings")
    async with running(world) as where, looking(browser, where, scheme=scheme) as page:
        places = (
            [f"#/{view}" for view in VIEWS] + [f"#/graph?open={detail}" for detail in DETAILS] + ["#/graph?as=table"]
        )
        for place in places:
            await page.go(place)
            await page.page.wait_for_function("() => !/Asking the control plane/.test(document.body.innerText)")
            found = await serious_violations(page.page)
            told = [(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in found]
            assert not found, (place, told)
        page.check()


@pytest.mark.parametrize("width", [390, 1024])
async def test_no_view_is_wider_than_the_screen(browser: Browser, width: int) -> None:
    async with running(World(60)) as where, looking(browser, where, width=width, height=800) as page:
        for view in VIEWS:
            for place in (f"#/{view}", f"#/{view}?open=service/default/orders-0"):
                await page.go(place)
                wide = await page.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, place
        page.check()


async def test_hostile_text_stays_text(browser: Browser) -> None:
    world = World(hostile=HOSTILE)
    async with running(world) as where, looking(browser, where) as page:
        page.expected = ("404",)
        await expect(page.page.locator(".graph .node").first).to_be_visible()
        part = quote(f"reviews{HOSTILE}", safe="")
        details = (
            f"service/default/{part}",
            f"workload/default/{part}-v1",
            f"edge/default%2F{quote('productpage' + HOSTILE, safe='')}/default%2F{part}",
            f"document/VirtualService/default/{part}",
            f"proxy/{part}-v1.default",
            f"{part}/{part}",
            *DETAILS,
        )
        for place in [*(f"#/{view}?filter={part}" for view in VIEWS), *(f"#/graph?open={one}" for one in details)]:
            await page.go(place)
            await page.page.wait_for_function("() => !/Asking the control plane/.test(document.body.innerText)")
        await page.go("#/graph")
        await page.page.locator("#search").fill(HOSTILE)
        await expect(page.page.get_by_role("option").first).to_contain_text("onerror=window.owned")
        await page.page.locator(".graph .node").last.hover()
        await page.go("#/tap?workload=default%2Fproductpage-v1")
        await page.page.get_by_role("button", name="Watch requests").click()
        await expect(page.page.locator("tbody tr").first).to_contain_text("<script>window.owned")
        assert await page.owned() == 0
        assert await page.violations() == []
        assert (
            await page.page.locator("img:not([src='/static/icon.svg']), script:not([src='/static/main.js'])").count()
            == 0
        )
        page.check()


async def test_the_same_in_the_terminal_is_a_command_that_there_is(page: Looking) -> None:
    found = set()
    for place in [*(f"#/{view}" for view in VIEWS), *(f"#/graph?open={detail}" for detail in DETAILS)]:
        await page.go(f"{place}{'&' if '?' in place else '?'}range=3600")
        found |= set(await page.page.locator("footer.terminal code").all_inner_texts())
    assert len(found) > 15
    for line in found:
        _, *words = shlex.split(line.replace("REVISION", "1"))
        command: click.Command = weft
        context = command.make_context("weft", words)
        while isinstance(command, click.Group):
            words = [*context._protected_args, *context.args]
            name, found_command, words = command.resolve_command(context, words)
            assert found_command is not None, line
            command = found_command
            context = command.make_context(name, words, parent=context)


async def test_what_is_copied_into_a_shell_is_quoted(page: Looking) -> None:
    hostile = "http://a/'$(touch owned)`id`;x\nreboot"
    await page.go(f"#/graph?open=explain&from=-x%20y&url={quote(hostile, safe='')}&header={quote(HOSTILE, safe='')}")
    (line,) = await page.page.locator("#detail footer.terminal code").all_inner_texts()
    assert "\n" not in line
    words = ["weft", "explain", "--from", "-x y", "GET", hostile.replace("\n", "?"), "-H", HOSTILE]
    assert shlex.split(line) == words


async def test_many_services_fold_and_unfold(browser: Browser) -> None:
    async with running(World(500)) as where, looking(browser, where) as page:
        await expect(page.page.locator(".node.namespace").first).to_be_visible()
        await page.page.get_by_role("button", name="payments").click()
        await expect(page.page.locator('.node[data-id="payments/cart-1"]')).to_be_attached()
        await expect(page.page.locator(".node.namespace")).to_have_count(3)
        page.check()
