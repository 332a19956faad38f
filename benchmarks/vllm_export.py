"""Check that exported classifiers give the same rewards in vLLM as in lorerm.

lorerm exports the reward of one user and the basis, both random, with small models of six families with random weights.
vLLM and transformers, in an environment without lorerm, then score the same conversations.

    python benchmarks/vllm_export.py make FOLDER [--model BASE]    # environment with lorerm; BASE: a further model
    python benchmarks/vllm_export.py classify FOLDER               # environment with vLLM: `LLM.classify`, transformers
    python benchmarks/vllm_export.py serve FOLDER                  # environment with vLLM: `vllm serve`, /classify

The attention heads of the small models have dimension 32, the smallest that vLLM accepts on a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

FAMILIES = ("llama", "qwen2", "qwen3", "gemma", "mistral", "gpt2")
USER, RANK = "bob", 3
Chat = list[dict[str, str]]
Rewards = Sequence[Sequence[float]]


def conversations(count: int, seed: int = 0) -> list[Chat]:
    """Return random conversations of one to three turns, with three responses to each prompt.

    Half of the prompts have a system message.
    """
    from embedding import sentences

    rng, found = random.Random(seed), []  # noqa: S311 - no secret
    for number in range(count // 3):
        turns = [("system", sentences(8, rng))] if number % 2 else []
        for _ in range(number % 3):
            turns += [("user", sentences(rng.randint(4, 20), rng)), ("assistant", sentences(rng.randint(4, 20), rng))]
        turns.append(("user", sentences(rng.randint(4, 60), rng)))
        for _ in range(3):
            chat = [*turns, ("assistant", sentences(rng.randint(4, 60), rng))]
            found.append([{"role": role, "content": content} for role, content in chat])
    return found


def make(folder: Path, base: Path | None) -> None:
    """Write the exports, the conversations, and the rewards that lorerm computes for them."""
    import torch

    from lorerm import LowRankRewardModel, TransformersEncoder
    from lorerm.model.export import build_classifier, save_classifier
    from lorerm.model.prior import WeightPrior

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from tiny_models import ENDS_WITH_TURN, TinyModels

    tiny, size = TinyModels(folder / "bases"), {"hidden": 128, "positions": 2048}
    bases = {family: tiny.folder(family=family, **size) for family in FAMILIES}
    # This tokenizer has no padding token, so that the export adds one; and it begins every text with a special token,
    # as the tokenizer of Llama 3 does.
    bases["llama-no-pad"] = tiny.folder(pad=None, template=ENDS_WITH_TURN, tokenizer_adds_bos=True, **size)
    if base is not None:
        bases[base.name] = base
    chats = conversations(36)
    expected: dict[str, list[list[float]]] = {}
    for name, place in bases.items():
        encoder = TransformersEncoder(str(place), device="cpu", dtype="float32")
        generator = torch.Generator().manual_seed(0)
        model = LowRankRewardModel(
            basis=torch.randn(encoder.identity.dimension, RANK, generator=generator),
            weights=torch.rand(2, RANK, generator=generator),
            user_ids=("ann", USER),
            prior=WeightPrior(torch.full((RANK,), 1 / RANK, dtype=torch.float64), torch.eye(RANK, dtype=torch.float64)),
            temperature=1.0,
            requested_rank=RANK,
            encoder=encoder.identity,
        )
        embeddings = torch.from_numpy(encoder.encode([tuple(chat) for chat in chats]))
        for user, rewards in ((USER, model.rewards(embeddings, USER)[:, None]), (None, embeddings @ model.basis)):
            export = f"{name}-{'basis' if user is None else 'user'}"
            save_classifier(build_classifier(model, str(place), user), folder / export)
            expected[export] = rewards.tolist()
    (folder / "expected.json").write_text(json.dumps({"chats": chats, "rewards": expected}), "utf-8")


def by_transformers(export: Path, chats: Sequence[Chat], dtype: str) -> Rewards:
    """Return the logits that transformers computes, one conversation at a time."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    network = AutoModelForSequenceClassification.from_pretrained(export, dtype=dtype).eval()
    rendered = AutoTokenizer.from_pretrained(export).apply_chat_template(chats, return_dict=False)
    with torch.inference_mode():
        return [network(torch.tensor([ids])).logits[0].tolist() for ids in rendered]


def by_vllm(export: Path, chats: Sequence[Chat], dtype: str) -> Rewards:
    """Return the logits of `LLM.classify` without compilation. `vllm serve` does compile, and `by_server` tests it."""
    from vllm import LLM

    llm = LLM(model=str(export), runner="pooling", dtype=dtype, enforce_eager=True)
    rendered = llm.get_tokenizer().apply_chat_template(chats, return_dict=False)
    return [one.outputs.probs for one in llm.classify([{"prompt_token_ids": ids} for ids in rendered], use_tqdm=False)]


@contextlib.contextmanager
def server(export: Path, dtype: str) -> Iterator[str]:
    """Run `vllm serve` on a free local port inside the `with` block, and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [str(Path(sys.executable).parent / "vllm"), "serve", str(export), "--runner", "pooling", "--dtype", dtype]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", port], stdout=log, stderr=log)
        try:
            while process.poll() is None:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                    break
                time.sleep(1)
            else:
                log.seek(0)
                sys.exit(log.read().decode())
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def by_server(export: Path, chats: Sequence[Chat], dtype: str) -> Rewards:
    """Return the logits of the route /classify, with one conversation per request."""
    found = []
    with server(export, dtype) as address:
        for chat in chats:
            body = json.dumps({"messages": chat}).encode()
            request = urllib.request.Request(f"{address}/classify", body, {"Content-Type": "application/json"})  # noqa: S310
            with urllib.request.urlopen(request) as reply:  # noqa: S310 - this machine
                found.append(json.load(reply)["data"][0]["probs"])
    return found


def compare(folder: Path, step: str, only: Sequence[str], dtype: str) -> None:
    """Print the largest differences between the logits and lorerm's rewards."""
    import torch
    import transformers
    import vllm

    content = json.loads((folder / "expected.json").read_text("utf-8"))
    chats, expected = content["chats"], content["rewards"]
    ways = {"transformers": by_transformers, "vLLM": by_vllm} if step == "classify" else {"vllm serve": by_server}
    print(
        f"{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, vLLM {vllm.__version__}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}; {dtype}, {len(chats)} conversations\n\n"
        "| export | logits | by | greatest difference | relative to the standard deviation |\n|---|---|---|---|---|"
    )
    for name in only or expected:
        for way, function in ways.items():
            found = function(folder / name, chats, dtype)
            greatest = relative = 0.0
            for one, other in zip(zip(*found, strict=True), zip(*expected[name], strict=True), strict=True):
                most = max(math.fabs(a - b) for a, b in zip(one, other, strict=True))
                greatest, relative = max(greatest, most), max(relative, most / statistics.stdev(other))
            print(f"| {name} | {len(found[0])} | {way} | {greatest:.1e} | {relative:.1e} |", flush=True)


def main() -> None:
    """Do the part that the arguments select."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("step", choices=["make", "classify", "serve"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, help="make: a base model beside the small ones, as a folder")
    parser.add_argument("--exports", nargs="+", default=[], help="classify, serve: exports to score (default: all)")
    parser.add_argument("--dtype", default="float32", help="classify, serve: the number type to run with")
    parsed = parser.parse_args()
    if parsed.step == "make":
        make(parsed.folder, parsed.model)
    else:
        compare(parsed.folder, parsed.step, parsed.exports, parsed.dtype)


if __name__ == "__main__":
    main()
