"""A server in a thread, and Chromium with a fresh profile."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ringrift_cli.web.app import Site
from ringrift_cli.web.server import listen, serve, server_of

CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT_MS = 60_000


@contextmanager
def served(site: Site) -> Iterator[str]:
    """The address of a server that shows `site`."""
    listening, server = listen("127.0.0.1", 0), server_of(site)
    thread = threading.Thread(target=serve, args=(server, listening))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()


@contextmanager
def opened_browser() -> Iterator[Any]:
    """A browser of playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def opened_page(browser: Any, width: int = 1024, height: int = 800, **more: Any) -> Iterator[Any]:
    """A page; errors of its scripts fail the test."""
    context = browser.new_context(viewport={"width": width, "height": height}, **more)
    page, errors = context.new_page(), list[str]()
    page.set_default_timeout(TIMEOUT_MS)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if "Policy" in said.text else None)
    yield page
    context.close()
    assert errors == []


def until(page: Any, expression: str) -> None:
    """Waits until an expression of the page is true; works under its content security policy."""
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)
