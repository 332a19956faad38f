"""The package as a whole: instant imports, all public names, one version."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lorerm

ROOT = Path(__file__).parents[1]
HEAVY = ["torch", "transformers", "sklearn", "scipy", "pyarrow", "datasets", "matplotlib", "pandas"]


def loaded_after(code):
    """Return the heavy packages that a new process has loaded after it ran some code."""
    report = f"import json, sys; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_package_and_its_settings_loads_nothing_heavy():
    """The heavy packages take seconds to load."""
    assert loaded_after("import lorerm; lorerm.TrainingConfig(), lorerm.AdaptationConfig()") == []


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]], ids=" ".join)
def test_help_loads_nothing_heavy(arguments):
    command = f"import sys; from lorerm.cli import main; sys.argv = ['lorerm', *{arguments!r}]"
    call = "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code"
    assert loaded_after(f"{command}\n{call}") == []


@pytest.mark.parametrize("name", lorerm.__all__)
def test_public_names_have_docstrings(name):
    assert getattr(lorerm, name).__doc__, f"lorerm.{name} has no docstring"


def test_dir_lists_the_public_names():
    assert dir(lorerm) == sorted(lorerm.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lorerm.nothing  # noqa: B018


def test_the_package_is_marked_as_typed():
    """Type checkers read the annotations of an installed package only if it has this file."""
    assert (Path(lorerm.__file__).parent / "py.typed").exists()


def test_changelog_and_citation_name_the_version():
    changelog = re.search(r"^## \[(\d[^]]*)]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert (changelog[1], citation[1]) == (lorerm.__version__, lorerm.__version__)
