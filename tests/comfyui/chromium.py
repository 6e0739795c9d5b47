"""A real browser for the tests that need one; without it they are skipped, loudly."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000
"""Milliseconds that any one step may take: a busy machine is slow, not broken."""


def _skip_all(missing: str) -> None:
    reason = f"NO BROWSER TEST RAN: {missing}"
    warnings.warn(reason, stacklevel=2)
    pytest.skip(reason, allow_module_level=True)


try:
    from playwright.sync_api import Browser, expect, sync_playwright
except ImportError:
    _skip_all("playwright is missing in ComfyUI's Python (pip install playwright)")
if not CHROMIUM:
    _skip_all("there is no chromium on the PATH (apt-get install chromium)")

expect.set_options(timeout=PATIENCE)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=OPTIONS)
        yield opened
        opened.close()
