"""What several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_choices() -> Path:
    """The folder of UKPConvArg1, a crowd's choices among arguments, where there is a copy of it."""
    beside = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("LORERM_SHARED", beside)) / "data" / "ukpconvarg1"
    if not folder.is_dir():
        pytest.skip(
            f"the real choices are not at {folder}; set LORERM_SHARED to the folder that holds data/ukpconvarg1"
        )
    return folder
