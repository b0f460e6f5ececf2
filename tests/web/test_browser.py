"""The pages in a real browser: games played by clicks, a search that streams, a run that grows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.review.sources import GameFile
from ringrift_cli.web.app import Site
from ringrift_cli.web.watch import WatchedRun
from tests.conftest import CONFORMANCE
from tests.loops import QuickSteps, run, settings
from tests.web.browser import opened_browser, opened_page, served, until

DECISIONS = 3000  # more than any game here
PICTURES = os.environ.get("RINGRIFT_PICTURES", "")  # folder for new pictures of docs/


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as found:
        yield found


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    games = ("hex8-2p.jsonl.gz", "square8-3p.jsonl.gz", "hexagonal-2p.jsonl.gz")
    with served(Site(files=[GameFile(CONFORMANCE / name) for name in games])) as address:
        yield address


def state(page: Any) -> str:
    page.wait_for_selector("body[data-state=ready], body[data-state=over]")
    return str(page.evaluate("document.body.dataset.state"))


def decide(page: Any) -> None:
    """One step of a person: a lit cell, else a listed choice, else any cell that can be chosen."""
    page.evaluate(
        """() => {
            const click = (found) => found.dispatchEvent(new MouseEvent("click", {bubbles: true}));
            const pick = (list) => list[Math.floor(Math.random() * list.length)];
            const choices = [...document.querySelectorAll("#choices button")]
                .filter((button) => !button.textContent.startsWith("Back"));
            const cells = [...document.querySelectorAll(".cell.lit, .cell.open")];
            click(choices.length && (!cells.length || document.querySelector(".cell.chosen"))
                ? pick(choices) : pick(cells));
        }"""
    )


def play(page: Any) -> None:
    """Plays the game of a page to its end."""
    for _ in range(DECISIONS):
        if state(page) == "over":
            return
        decide(page)
        page.wait_for_timeout(15)
    raise AssertionError("the game does not end")


def begin(page: Any, url: str, board: str, seats: list[str]) -> None:
    page.goto(f"{url}/play")
    state(page)
    page.click("#new")
    page.select_option("#board-name", board)
    page.select_option("#count", str(len(seats)))
    for seat, name in enumerate(seats):
        page.select_option(f"select[aria-label='Player {'ABCD'[seat]}']", name)
    page.evaluate("document.body.dataset.state = 'waiting'")
    page.click("#start")
    state(page)


def picture(page: Any, name: str, *, full: bool = False) -> None:
    """Takes a picture for docs/, if asked."""
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"web-{name}.png"), full_page=full)


def test_a_move_by_click_and_one_by_key(browser: Any, url: str) -> None:
    with opened_page(browser, 1024, 800) as page:
        begin(page, url, "hex8", ["person", "person"])
        page.click("#cell-30")
        assert page.locator("#choices button").count() == 4  # 1, 2, 3 rings, back
        page.keyboard.press("Escape")
        assert page.locator(".cell.chosen").count() == 0
        page.focus("#cell-30")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.keyboard.press("2")
        page.wait_for_selector(".cell.lit")
        assert "stack of A, height 2" in page.get_attribute("#cell-31", "aria-label")
        page.locator(".cell.lit").first.click()
        until(page, "document.querySelector('#status').textContent.includes('B')")
        page.click("#undo")
        page.wait_for_selector(".cell.lit")


@pytest.mark.long
@pytest.mark.parametrize(
    ("board", "seats"),
    [("hex8", ["person", "level-1"]), ("square8", ["person", "level-1", "person"])],
)
def test_whole_games_by_clicks(browser: Any, url: str, board: str, seats: list[str]) -> None:
    with opened_page(browser) as page:
        begin(page, url, board, seats)
        play(page)
        assert "won" in page.inner_text("#status")
        page.click("#undo")
        until(page, "document.body.dataset.state === 'ready'")


@pytest.mark.long
def test_a_click_on_the_largest_board_redraws_fast(browser: Any, url: str) -> None:
    with opened_page(browser) as page:
        begin(page, url, "hexagonal", ["person", "person"])
        times = []
        for _ in range(20):
            decide(page)
            page.wait_for_timeout(100)
            times.append(page.evaluate("window.redrawn"))
        assert sorted(times)[len(times) // 2] < 50, times  # milliseconds


@pytest.mark.long
def test_a_search_streams_and_stops(browser: Any, url: str) -> None:
    with opened_page(browser) as page:
        page.goto(f"{url}/analyse")
        page.wait_for_selector(".cell")
        page.click("#next")
        page.click("#search")

        def simulations() -> int:
            page.wait_for_selector("#candidates tr")
            return int(page.inner_text("#progress").split(" ")[0].replace(",", ""))

        first = simulations()
        until(
            page,
            f"parseInt(document.querySelector('#progress').textContent.replace(',', '')) > {first}",
        )
        assert page.locator("g.candidate.best").count() == 1
        page.click("#search")
        until(page, "document.querySelector('#search').textContent === 'Analyse position'")
        stopped = simulations()
        page.wait_for_timeout(1500)
        assert simulations() == stopped
        page.click("#whole")
        page.wait_for_selector("#chart:not([hidden]) path.s2")
        assert "blunder" in page.inner_text("#mistakes")


@pytest.mark.long
def test_a_run_is_watched_while_it_works(browser: Any, tmp_path: Path) -> None:
    config = settings(tmp_path)
    run(config, QuickSteps(config))
    watched = Site(runs=[WatchedRun(config)])
    with served(watched) as address, opened_page(browser, 1024, 1200) as page:
        page.goto(f"{address}/watch")
        text = "(document.querySelector('#run').shadowRoot?.textContent ?? '')"
        until(page, f"{text}.includes('Verdicts and their reasons')")
        assert "cycle 2" not in page.evaluate(text)
        run(config, QuickSteps(config))
        until(page, f"{text}.includes('cycle 2')")
        picture(page, "watch-1024")


@pytest.mark.long
@pytest.mark.parametrize(
    ("width", "height", "scheme"), [(390, 844, "light"), (1024, 800, "light"), (1920, 1080, "dark")]
)
def test_pages_fit_their_width(
    browser: Any, url: str, width: int, height: int, scheme: str
) -> None:
    with opened_page(browser, width, height, color_scheme=scheme) as page:
        page.goto(f"{url}/play")
        state(page)
        for _ in range(24):
            decide(page)
            page.wait_for_timeout(250)
            state(page)
        picture(page, f"play-{width}")
        page.goto(f"{url}/analyse")
        page.wait_for_selector(".cell")
        page.evaluate("document.querySelector('#ply').value = 34")
        page.dispatch_event("#ply", "input")
        page.click("#whole")
        page.wait_for_selector("#chart:not([hidden])")
        page.click("#search")
        page.wait_for_selector("#candidates tr")
        time.sleep(1.5)
        picture(page, f"analyse-{width}")
        for name in ("play", "analyse", "api", "watch", ""):
            page.goto(f"{url}/{name}")
            page.wait_for_timeout(300)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, name
            unlabelled = page.evaluate(
                """[...document.querySelectorAll("button, select, input, a, textarea")].filter(
                    (found) => !(found.textContent.trim() || found.ariaLabel || found.title
                        || found.labels?.length)).length"""
            )
            assert unlabelled == 0, name
