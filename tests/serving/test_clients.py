"""Real clients of other rerank servers get this server's ranking, for the user that they name.

The clients are in an environment of their own, which `make clients` sets up: their packages do not fit those of this
project. docs/clients.md has the table of what they return.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lorerm.serving.keys import new_key
from lorerm.serving.settings import Settings
from servers import running

# One group, so that the clients run once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clients")]

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
PAGE = (ROOT / "docs" / "clients.md").read_text("utf-8")
QUERY = "What of bread?"
DOCUMENTS = ["It is good.", "Well, there is much to be said of it: bread is old, and rye is dark!", "Ask me later?"]
USER, OTHER = "trained", "rerank-v3.5"
# It replaces the path of the base URL.
WITHOUT_BASE_URL = {"litellm `jina_ai/`"}
# They send no model.
WITHOUT_MODEL = {"LlamaIndex `TextEmbeddingInference`", "litellm `huggingface/`"}
# They ask for probabilities.
BOUNDED = {"LangChain `InfinityRerank`", "infinity-client", "litellm `infinity/`", *WITHOUT_MODEL}


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    """The address of a server with a key, what to ask it, and the rankings that it should return."""
    folder = tmp_path_factory.mktemp("clients")
    model.save_pretrained(folder / "model", include_users=True)
    key, line = new_key()
    settings = Settings(
        str(folder / "model"), f"sqlite:///{folder / 'feedback.sqlite'}", encoder={"model": None}, keys=(line,)
    )
    with running(settings, headers={"Authorization": f"Bearer {key}"}) as client:
        yield client, key


@pytest.fixture(scope="module")
def results(served, tmp_path_factory):
    """What each call returned."""
    if not PYTHON.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the clients are not installed: run `make clients`")
    client, key = served
    asked = {
        "address": str(client.base_url).rstrip("/"),
        "key": key,
        "model": "model",
        "user": USER,
        "other": OTHER,
        "query": QUERY,
        "documents": DOCUMENTS,
    }
    lines = tmp_path_factory.mktemp("calls") / "results.jsonl"
    # Nothing of this environment is passed on: proxies, keys and telemetry would change what the clients do.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(lines.parent),
        "DO_NOT_TRACK": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "1",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
    }
    command = [str(PYTHON), str(ROOT / "tests" / "clients" / "calls.py"), str(lines)]
    done = subprocess.run(
        command, input=json.dumps(asked), capture_output=True, text=True, env=environment, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in lines.read_text("utf-8").splitlines()]


def ranking(served, user, *, bounded):
    asked = {"query": QUERY, "documents": DOCUMENTS, "user": user, "bounded": bounded}
    found = served[0].post("/v1/rerank", json=asked).json()["results"]
    return [each["index"] for each in found], [each["relevance_score"] for each in found]


@pytest.mark.parametrize("way", ["nobody", "base URL", "model"])
def test_every_client_gets_the_ranking_of_the_user_it_names(served, results, way):
    assert ranking(served, None, bounded=False)[0] != ranking(served, USER, bounded=False)[0]
    calls = [found for found in results if found["way"] == way]
    assert len(calls) == len({found["client"] for found in results}) == 17
    for found in calls:
        name = found["client"]
        cannot = {"base URL": WITHOUT_BASE_URL, "model": WITHOUT_MODEL, "nobody": {name}}[way]
        order, scores = ranking(served, None if name in cannot else USER, bounded=name in BOUNDED)
        assert found.get("order") == order, found
        np.testing.assert_allclose(found["scores"], scores, rtol=1e-6, err_msg=name)


def test_another_model_is_an_error_in_every_client_that_sends_one(results):
    for found in results:
        if found["way"] == "another model":
            assert ("error" in found) == (found["client"] not in WITHOUT_MODEL), found


def test_the_table_has_every_client_with_its_version(results):
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| ([\d.]+) \|", PAGE, re.MULTILINE)
    assert rows == list(dict.fromkeys((found["client"], found["package"], found["version"]) for found in results))
