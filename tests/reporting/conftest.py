"""The sample reports as JSON objects, a fresh copy for every test."""

from __future__ import annotations

import pytest

import sample_reports

SAMPLES = vars(sample_reports)


@pytest.fixture(scope="session")
def samples():
    """The functions that return the sample reports, by name."""
    return {name: SAMPLES[name] for name in ("rich_report", "impersonal_report", "seen_only_report")}


@pytest.fixture
def rich():
    """A report with every part: seven ranks, 300 users."""
    return SAMPLES["rich_report"]()


@pytest.fixture
def impersonal():
    """A report whose validation chose rank 1; no reference head, a leak, as an earlier version wrote it."""
    return SAMPLES["impersonal_report"]()


@pytest.fixture
def seen_only():
    """A report of one rank without unseen users and optional parts."""
    return SAMPLES["seen_only_report"]()


@pytest.fixture(params=["rich_report", "impersonal_report", "seen_only_report"])
def content(request):
    """Each of the sample reports in turn."""
    return SAMPLES[request.param]()
