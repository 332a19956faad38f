"""The sample reports as fixtures, a fresh copy for every test."""

from __future__ import annotations

import pytest

import sample_reports

SAMPLES = vars(sample_reports)


@pytest.fixture(scope="session")
def samples():
    """What makes the sample reports, by name."""
    return {name: SAMPLES[name] for name in ("rich_report", "impersonal_report", "seen_only_report")}


@pytest.fixture
def rich_report():
    return SAMPLES["rich_report"]()


@pytest.fixture
def impersonal_report():
    return SAMPLES["impersonal_report"]()


@pytest.fixture
def seen_only_report():
    return SAMPLES["seen_only_report"]()


@pytest.fixture(params=["rich_report", "impersonal_report", "seen_only_report"])
def report(request):
    """Each of the sample reports in turn."""
    return SAMPLES[request.param]()
