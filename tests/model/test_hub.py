"""Push to and download from a simulated hub with the hub's own client, in a separate process."""

import inspect
import json
import os
import subprocess
import sys

import pytest
import torch
from huggingface_hub import ModelHubMixin

from hub_server import HubServer
from lorerm.errors import ModelError
from lorerm.model.reward_model import LowRankRewardModel
from refusals import refused

# One process for all tests: importing torch and the client takes seconds.
SCRIPT = """
import json, sys
from lorerm import LowRankRewardModel
from lorerm.errors import ModelError

folder = sys.argv[1]
model = LowRankRewardModel.from_pretrained(folder)
results = {}
results["first"] = model.push_to_hub("me/tastes", include_users=True, private=True, token="hf_secret", license_id="mit")
results["fetched"] = LowRankRewardModel.from_pretrained("me/tastes", cache_dir=folder + "/cache-1").user_ids
results["second"] = model.push_to_hub("me/tastes", token="hf_secret", commit_message="Without the users")
again = LowRankRewardModel.from_pretrained("me/tastes", cache_dir=folder + "/cache-2")
again.save_pretrained(folder + "/again", push_to_hub=True, repo_id="me/copy", token="hf_secret")
results["without"] = again.user_ids
for name, (target, options) in {
    "missing": ("me/nothing", {}), "offline": ("me/other", {"local_files_only": True}), "name": ("me/a b", {}),
}.items():
    try:
        LowRankRewardModel.from_pretrained(target, cache_dir=folder + "/cache-3", **options)
    except ModelError as error:
        results[name] = str(error)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def pushed(tmp_path_factory, make_shared_model):
    """The simulated hub after the script, the script's results, and the model's folder."""
    folder = tmp_path_factory.mktemp("hub")
    make_shared_model().save_pretrained(folder, include_users=True)
    hub = HubServer()
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
        kept.pop(name, None)
    environment = {**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)], env=environment, capture_output=True, text=True, timeout=120
    )
    hub.close()
    assert done.returncode == 0, done.stderr
    return hub, json.loads(done.stdout.splitlines()[-1]), folder


def test_a_push_creates_the_repository_and_is_one_commit_with_the_token(pushed):
    hub, results, _ = pushed
    assert hub.visibility == {"me/tastes": "private", "me/copy": None}
    assert results["first"] == f"{hub.url}/me/tastes/commit/{1:040x}"
    assert [commit["summary"] for commit in hub.commits] == [
        "Push model using lorerm.",
        "Without the users",
        "Push model using lorerm.",
    ]
    writes = [token for method, path, token in hub.requests if method == "POST" and "validate" not in path]
    assert set(writes) == {"Bearer hf_secret"}


def test_users_are_pushed_only_on_request_and_deleted_by_the_next_push(pushed):
    hub, results, folder = pushed
    assert results["fetched"] == ["zoë", "b", 'c "quoted"\n']
    assert results["without"] == []
    assert sorted(hub.repositories["me/tastes"]) == ["README.md", "config.json", "model.safetensors"]
    assert sorted(hub.repositories["me/copy"]) == ["README.md", "config.json", "model.safetensors"]
    assert not any("zoë".encode() in content for content in hub.repositories["me/tastes"].values())
    assert (folder / "users.safetensors").exists()


def test_pushed_and_downloaded_files_are_the_saved_ones(pushed):
    hub, _, folder = pushed
    files = hub.repositories["me/tastes"]
    for name in ("config.json", "model.safetensors"):
        assert files[name] == (folder / name).read_bytes() == (folder / "again" / name).read_bytes()


def test_a_failed_download_is_an_error_of_one_line(pushed):
    _, results, _ = pushed
    for name, target in (("missing", "me/nothing"), ("offline", "me/other"), ("name", "me/a b")):
        assert results[name].startswith(target), results[name]
        assert "\n" not in results[name]


def test_the_arguments_are_those_of_the_hubs_own_mixin():
    """Without those about the configuration, which is the model's own, cards and patterns of files."""
    left_out = {"config", "model_card_kwargs", "allow_patterns", "ignore_patterns", "delete_patterns", "model_kwargs"}
    for method in ("from_pretrained", "save_pretrained", "push_to_hub"):
        theirs = inspect.signature(getattr(ModelHubMixin, method)).parameters
        ours = inspect.signature(getattr(LowRankRewardModel, method)).parameters
        assert set(theirs) - left_out <= set(ours), method


def test_another_base_model_is_refused_when_loading(make_model, tmp_path):
    class Other:
        identity = make_model().encoder.__class__("another", None, "abc", "last-token", "bfloat16", None, 4)

    class Same:
        identity = make_model().encoder

    make_model().save_pretrained(tmp_path)
    with refused(ModelError, "'an encoder'", "'another'", argument="encoder"):
        LowRankRewardModel.from_pretrained(tmp_path, encoder=Other())
    assert torch.equal(LowRankRewardModel.from_pretrained(tmp_path, encoder=Same()).basis, make_model().basis)


def test_an_unreachable_hub_is_an_error_of_one_line(make_model, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with refused(ModelError, "me/tastes", "http://127.0.0.1:9"):
        make_model().push_to_hub("me/tastes", token="none")  # noqa: S106
