"""Code blocks of README.md, of docs/ and of docstrings run unchanged."""

import argparse
import doctest
import importlib
import pkgutil
import re
import runpy
from pathlib import Path

import pytest

import lorerm
from lorerm.cli import build_parser

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WRITTEN = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [page for page in WRITTEN if BLOCK.search(page.read_text("utf-8"))]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def run_block(code, first_line, page, names):
    """Run one block in the page's namespace: a session with its output, or plain code."""
    if not code.lstrip().startswith(">>>"):
        exec(compile("\n" * (first_line - 1) + code, str(page), "exec"), names)  # noqa: S102
        return
    example = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), first_line - 1)
    example.globs = names  # the parser copies the namespace, and later blocks need the names of this one
    failures = []
    doctest.DocTestRunner(optionflags=FLAGS).run(example, out=failures.append, clear_globs=False)
    assert not failures, "".join(failures)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    """Each page is one session, started in an empty folder."""
    monkeypatch.chdir(tmp_path)
    text, names = page.read_text("utf-8"), {"__name__": page.stem}
    for block in BLOCK.finditer(text):
        run_block(block[1], text.count("\n", 0, block.start(1)) + 1, page, names)


def modules_with_examples():
    """List the modules whose source has a session."""
    sources = {name: Path(finder.path) for finder, name, _ in pkgutil.walk_packages(lorerm.__path__, "lorerm.")}
    found = []
    for name, folder in sources.items():
        stem = name.rpartition(".")[2]
        source = folder / f"{stem}.py" if (folder / f"{stem}.py").exists() else folder / stem / "__init__.py"
        if ">>> " in source.read_text("utf-8"):
            found.append(name)
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_sessions_of_docstrings(name):
    assert doctest.testmod(importlib.import_module(name), optionflags=FLAGS).failed == 0


@pytest.mark.slow
def test_example_personal_ranking(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    runpy.run_path(str(ROOT / "examples" / "personal_ranking.py"))
    shown = capsys.readouterr().out
    assert (tmp_path / "report" / "report.html").exists()
    before, after = (int(n) for n in re.findall(r"(\d+) of \d+ comparisons on new prompts", shown))
    assert after > before
    assert "\n1. " in shown


def test_page_of_the_command_has_every_verb_and_the_help_text_of_every_option():
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    (verbs,) = [action.choices for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert {verb for verb in verbs if f"`{verb}`" not in page} == set()
    helps = {
        (action.option_strings[0], (action.help or "").replace("%%", "%"))
        for verb in verbs.values()
        for action in verb._actions
        if action.option_strings and action.dest != "help"
    }
    rows = re.findall(r"^\| `(--[a-z-]+).*?`(?:, `--[a-z-]+`)* \| (.+) \|$", page, re.MULTILINE)
    # The page has a row "| `--OPTION VALUE` | HELP TEXT |" for each option, and no other row of this form.
    assert {(flag, text.replace("\\", "")) for flag, text in rows} == helps


def test_every_dependency_has_a_reason_and_a_locked_version():
    required = re.findall(
        r'^    "([a-z-]+)(?:\[[a-z]+\])?>=', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
    )
    reasons = "\n".join(
        re.findall(r"^\|([^|]+)\|", (ROOT / "docs" / "dependencies.md").read_text("utf-8"), re.MULTILINE)
    )
    locked = re.findall(r"^([a-z-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert required
    assert {name for name in required if not re.search(rf"(?<!\S){name}(?=[\s,])", reasons)} == set()
    assert set(required) <= set(locked)
