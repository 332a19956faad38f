"""Every module has a test file, and no file of the project names a path of one machine."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "lorerm"
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))

# Modules without a test file of their own, and why.
UNTESTED = {
    "__main__.py": "hands over to the command",
    "_version.py": "one constant, which test_package.py compares with the changelog",
    "data/datasets/simulated_texts.py": "part of the simulated population: test_simulated.py",
    "serving/migrations/env.py": "run by every test of the database: test_database.py",
    "serving/migrations/versions/v0001_users_and_updates.py": "what it makes is compared in test_database.py",
    "serving/migrations/versions/v0002_model_series.py": "a database of the version before: test_model_series.py",
    "model/baselines.py": "names alone, shown by the card and the report: test_card.py, test_tables.py",
    "serving/request_context.py": "two variables: test_logs.py, test_batching_encoder.py",
    "reporting/glossary.py": "words alone, shown by the page: test_html.py",
}

WRITTEN = [".ci", "benchmarks", "docs", "examples", "src", "tests"]
SUFFIXES = {"", ".py", ".md", ".toml", ".txt", ".json", ".j2", ".html", ".css", ".js", ".yaml", ".cff"}
# Paths of one machine; each is written in two parts, so that this file does not contain it.
LOCAL_PATHS = re.compile("/wo" + "rk/|\\.\\./sha" + "red|/ro" + "ot/")


def written_files():
    """Return every text file of the project, without what tools left behind."""
    top = [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".")]
    inner = [path for folder in WRITTEN for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    hidden = (".import_linter_cache", "__pycache__")
    return [path for path in top + inner if path.suffix in SUFFIXES and not set(hidden) & set(path.parts)]


@pytest.mark.parametrize("module", [path for path in MODULES if path.name != "__init__.py"], ids=str)
def test_every_module_has_its_test_file(module):
    """src/lorerm/a/b.py is tested by tests/a/test_b.py."""
    has_test = (ROOT / "tests" / module.parent / f"test_{module.name}").exists()
    assert has_test != (module.as_posix() in UNTESTED)


def test_every_exception_names_a_module_that_exists():
    assert set(UNTESTED) <= {module.as_posix() for module in MODULES}


def test_no_file_names_a_path_of_one_machine():
    found = {str(path.relative_to(ROOT)): LOCAL_PATHS.findall(path.read_text("utf-8")) for path in written_files()}
    assert {path: words for path, words in found.items() if words} == {}
