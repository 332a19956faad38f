"""Takes the picture of the server's page: `python docs/images/serve.py RUN` with the run of `lorerm demo`.

It picks the shorter response five times, in a window as wide as that of a small laptop.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PICKS = 5
READY = "body:not([aria-busy])"


def pick_the_shorter(page: Page) -> None:
    """Pick the shorter response, and wait until the page has updated."""
    page.wait_for_selector(f"{READY} #left:not([disabled])")
    left, right = (len(page.locator(f"#{side} .text").inner_text()) for side in ("left", "right"))
    before = int(page.locator("#picks").inner_text())
    page.keyboard.press("1" if left < right else "2")
    page.wait_for_selector(f"{READY} #picks:text-is('{before + 1}')")


def wait_until_ready(address: str) -> None:
    """Wait up to a minute until the server has loaded its model."""
    for _ in range(60):
        with suppress(OSError), urllib.request.urlopen(f"{address}/ready", timeout=60):  # noqa: S310 - our own address
            return
        time.sleep(1)


def take(address: str, picture: Path) -> None:
    """Take the picture."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1180, "height": 1160}, device_scale_factor=1)
        wait_until_ready(address)
        page.goto(address)
        for _ in range(PICKS):
            pick_the_shorter(page)
        page.mouse.move(0, 0)
        page.wait_for_timeout(1000)
        page.screenshot(path=picture)
        chromium.close()


def main() -> None:
    """Serve the run with a new database, and write the picture beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        database = f"sqlite:///{Path(folder) / 'picture.sqlite'}"
        command = [sys.executable, "-m", "lorerm", "serve", sys.argv[1], "--port", "0", "--database", database]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this very program
        try:
            address = re.search(r"http://\S+", server.stdout.readline() if server.stdout else "")
            if address is None:
                raise SystemExit("the server did not start")
            take(address[0], Path(__file__).with_suffix(".png"))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
