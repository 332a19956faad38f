"""Take the picture of a report's page: python docs/images/report.py RUN, where RUN is a run of `lorerm demo`.

It shows the opening of the page in a window of 1080 x 1170 pixels. The picture `people.png` is the figure
`report/figures/weights_map.png` of a run of `lorerm demo --people polis`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright


def main() -> None:
    """Take the picture, and write it beside this file."""
    page_file = Path(sys.argv[1]).resolve() / "report" / "report.html"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1080, "height": 1170}, color_scheme="light")
        page.goto(page_file.as_uri())
        page.screenshot(path=Path(__file__).with_suffix(".png"))
        chromium.close()


if __name__ == "__main__":
    main()
