"""A real browser: Debian's Chromium, without a window.

Once for each module and no longer: Playwright holds an event loop of its own, and tests with asyncio need theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from needs import lacking

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP demo.test 127.0.0.1",  # a name that browsers do not trust as they trust localhost
]

BOUND = 20_000
"""Milliseconds that a page may take to look as a test expects it."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        lacking(str(CHROMIUM), "apt-get update && apt-get install -y chromium")
    expect.set_options(timeout=BOUND)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
