"""Takes the picture of the server's page: python docs/images/serve.py RUN, where RUN is the demonstration's.

It picks the shorter answer five times, with Chromium's window as wide as a small laptop's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PICKS = 5
READY = "body:not([aria-busy])"


def pick_the_shorter(page: Page) -> None:
    """Pick, and wait until the page shows what follows."""
    page.wait_for_selector(f"{READY} #left:not([disabled])")
    left, right = (len(page.locator(f"#{side} .text").inner_text()) for side in ("left", "right"))
    before = int(page.locator("#picks").inner_text())
    page.keyboard.press("1" if left < right else "2")
    page.wait_for_selector(f"{READY} #picks:text-is('{before + 1}')")


def take(address: str, picture: Path) -> None:
    """Take the picture."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1180, "height": 1160}, device_scale_factor=1)
        page.goto(address)
        for _ in range(PICKS):
            pick_the_shorter(page)
        page.mouse.move(0, 0)
        page.wait_for_timeout(1000)
        page.screenshot(path=picture)
        chromium.close()


def main() -> None:
    """Serve the run on a database of its own, and take the picture beside this file."""
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
