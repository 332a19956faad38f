"""The example script that embeds on a Ray cluster."""

import re
import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_embed.py"


def test_it_gives_the_same_numbers(ray, capsys):
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    found = re.fullmatch(r"([\d,]+) conversations of .*: True\n", capsys.readouterr().out)
    assert int(found[1].replace(",", "")) > 1024, "more than one shard"
