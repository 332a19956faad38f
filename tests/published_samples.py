"""Small files in exactly the schemas of the published data sets; every text in them is made up here."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from lorerm.data.datasets.personalllm import REWARD_MODELS
from small_choices import TOPICS, write_lines

WORDS = [*TOPICS, "moss"]


def text(rng: np.random.Generator, n_words: int) -> str:
    """Some words."""
    return " ".join(rng.choice(WORDS, n_words)).capitalize() + "."


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    """One object per line, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_lines(path, rows)


def write_parquet(path: Path, rows: list[dict]) -> Path:
    """The rows as Parquet, as the hub has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def tldr_row(worker: str, post: str, split: str, chosen: str, rejected: str, choice: int = 0, *, cnn: bool = False):
    """One comparison of `comparisons/batch*.json`."""
    summaries = [chosen, rejected] if choice == 0 else [rejected, chosen]
    info = {"id": f"t3_{abs(hash_of(post)) % 10**6}", "post": post, "title": "A title", "subreddit": "tea"}
    if cnn:
        info = {"id": f"cnn_{abs(hash_of(post)) % 10**6}", "article": post, "title": "News", "site": "cnn"}
    return {
        "info": info,
        "summaries": [{"text": one, "policy": "sup4", "note": ""} for one in summaries],
        "choice": choice,
        "worker": worker,
        "batch": "batch0_cnndm" if cnn else "batch3",
        "split": split,
        "extra": {"confidence": 5},
    }


def hash_of(words: str) -> int:
    """The same number in every process."""
    import hashlib

    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:6], "big")


def tldr_sample(folder: Path, n_workers: int = 40, n_train: int = 6, n_valid: int = 4) -> Path:
    """Workers who like long summaries, or short ones, in the original layout: `batch*.json`, one object per line."""
    rng = np.random.default_rng(0)
    rows = []
    for worker in range(n_workers):
        for place in range(n_train + worker % 3 + n_valid):
            long, short = text(rng, 9), text(rng, 3)
            better, worse = (long, short) if worker % 2 else (short, long)
            split = "train" if place < n_train + worker % 3 else ("valid1", "valid2")[place % 2]
            post = f"Post {worker} {place}: " + text(rng, 6)
            rows.append(tldr_row(f"worker{worker:02d}", post, split, better, worse, int(rng.integers(2))))
    half = len(rows) // 2
    write_jsonl(folder / "batch3.json", rows[:half])
    write_jsonl(folder / "batch4.json", rows[half:])
    return folder


def prism_sample(folder: Path, n_users: int = 50) -> Path:
    """Users with 1 to 7 dialogues of two turns: four replies at first, then two."""
    rng = np.random.default_rng(1)
    survey, conversations, utterances = [], [], []
    for index in range(n_users):
        user = f"user{(index * 37) % n_users}"
        n_dialogues = 6 + index % 2 if index % 7 else 1 + index % 5
        survey.append({"user_id": user, "num_completed_conversations": n_dialogues, "age": "25-34 years old"})
        for number in range(n_dialogues):
            name = f"c{index}-{number}"
            conversations.append(prism_conversation(name, user, rng, likes_long=bool(index % 2)))
    survey.append({"user_id": "user-idle", "num_completed_conversations": 0, "age": "35-44 years old"})
    for conversation in conversations:
        for one in conversation["conversation_history"]:
            utterances.append({"utterance_id": f"ut{len(utterances)}", "user_id": conversation["user_id"], **one})
    write_jsonl(folder / "survey.jsonl", survey)
    write_jsonl(folder / "conversations.jsonl", conversations)
    write_jsonl(folder / "utterances.jsonl", utterances)
    return folder


def prism_conversation(name: str, user: str, rng: np.random.Generator, *, likes_long: bool) -> dict:
    """One line of `conversations.jsonl`."""
    history = []
    for turn, n_replies in enumerate((4, 2)):
        history.append({"turn": turn, "role": "user", "content": f"{name} {turn} " + text(rng, 3)})
        replies = [text(rng, n) for n in rng.permutation(np.arange(2, 2 + 2 * n_replies, 2))]
        best = replies[int(rng.integers(len(replies)))]
        if rng.random() < 0.3:
            best = max(replies, key=len) if likes_long else min(replies, key=len)
        for within, reply in enumerate(replies):
            history.append(
                {
                    "turn": turn,
                    "role": "model",
                    "content": reply,
                    "model_name": f"model-{within}",
                    "score": 90 if reply == best else 20,
                    "if_chosen": reply == best,
                    "within_turn_id": within,
                }
            )
    return {
        "conversation_id": name,
        "user_id": user,
        "conversation_type": "unguided",
        "conversation_turns": 2,
        "opening_prompt": history[0]["content"],
        "open_feedback": "",
        "conversation_history": history,
    }


def personalllm_rows(rng: np.random.Generator, label: str, n_prompts: int) -> list[dict]:
    """Rows of one split."""
    rows = []
    for number in range(n_prompts):
        row = {"prompt": f"{label} {number}: {text(rng, 4)}", "prompt_id": f"{label}-{number}", "subset": "made-up"}
        for i in range(1, 9):
            row[f"response_{i}"] = text(rng, int(rng.integers(2, 9)))
            row[f"response_{i}_model"] = f"model-{i}"
            for place, model in enumerate(REWARD_MODELS):
                sign = 1 if place % 2 else -1
                row[f"response_{i}_{model}"] = float(sign * len(row[f"response_{i}"]) + rng.normal())
        rows.append(row)
    return rows


def personalllm_sample(folder: Path, n_train: int = 60, n_test: int = 12) -> Path:
    """Both splits as Parquet, in the layout of the hub."""
    rng = np.random.default_rng(2)
    for label, n_prompts in (("train", n_train), ("test", n_test)):
        write_parquet(folder / "data" / f"{label}-00000-of-00001.parquet", personalllm_rows(rng, label, n_prompts))
    return folder


TURNS = ("first", "second", "third", "fourth")


def community_row(name: str, annotator: str, language: str, turns: list[tuple[str, list[str], str | None]]) -> dict:
    """One conversation: (prompt, four responses, preferred) for each turn that there was."""
    row = {
        "conversation_id": name,
        "annotator_id": annotator,
        "assigned_lang": language,
        "is_pregenerated_first_prompt": True,
        "annotator_age": "25-34",
    }
    for place, turn in enumerate(TURNS):
        prompt, responses, preferred = turns[place] if place < len(turns) else (None, [None] * 4, None)
        row[f"{turn}_turn_prompt"] = prompt
        for letter, response in zip("abcd", responses, strict=True):
            row[f"{turn}_turn_response_{letter}"] = response
        row[f"{turn}_turn_preferred_response"] = preferred
    return row


def community_sample(folder: Path, n_annotators: int = 40, n_conversations: int = 6) -> Path:
    """Annotators in two languages with conversations of one to four turns, as Parquet."""
    rng = np.random.default_rng(3)
    rows = []
    for annotator in range(n_annotators):
        for number in range(n_conversations):
            turns = []
            for turn in range(1 + number % 2):
                responses = [text(rng, n) for n in (2, 4, 6, 8)]
                preferred = f"response_{'abcd'[int(rng.integers(4))]}"
                turns.append((f"Question {number} {turn}: " + WORDS[number], responses, preferred))
            language = "en" if annotator % 4 else "it"
            rows.append(community_row(f"c{annotator}-{number}", f"annotator{annotator:02d}", language, turns))
    write_parquet(folder / "data" / "train-00000-of-00001.parquet", rows)
    return folder


def polis_files(folder: Path, statements: list[tuple[int, int, str]], votes: dict[int, dict[int, int | str]]) -> Path:
    """A conversation on Pol.is: statements as (number, moderation, text), and votes by participant and statement."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [number for number, _, _ in statements]
    for name, header, rows in (
        ("comments.csv", ["timestamp", "comment-id", "moderated", "comment-body"], [[0, *one] for one in statements]),
        (
            "participants-votes.csv",
            ["participant", "group-id", *numbers],
            [[user, "", *(given.get(number, "") for number in numbers)] for user, given in votes.items()],
        ),
    ):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    return folder


def polis_sample(folder: Path, n_users: int = 40, n_statements: int = 60) -> Path:
    """Two camps of participants, who agree with different halves of the statements; one vote in eight is a pass."""
    rng = np.random.default_rng(4)
    statements = [(number, 1, f"Statement {number}: " + text(rng, 5)) for number in range(n_statements)]
    votes = {
        user: {number: 0 if rng.random() < 0.125 else 1 - 2 * ((user + number) % 2) for number in range(n_statements)}
        for user in range(n_users)
    }
    return polis_files(folder, statements, votes)


def rewardbench_rows(rng: np.random.Generator, per_subset: int = 3) -> list[dict]:
    """Prompts of each subset: best of four, and Ties with its reference prompts."""
    rows = [
        rewardbench_row(f"{subset}-{number}", subset, text(rng, 4), [text(rng, 5)], rng, 3)
        for subset in ("Factuality", "Precise IF", "Math", "Safety", "Focus")
        for number in range(per_subset)
    ]
    for number in range(per_subset):
        correct = [text(rng, n) for n in (1, 2, 3)]
        rows.append(rewardbench_row(f"ref:{number}", "Ties", text(rng, 4), [text(rng, 2)], rng, 4))
        rows.append(rewardbench_row(f"tied:{number}", "Ties", text(rng, 4), correct, rng, 4))
    return rows


def rewardbench_row(name: str, subset: str, prompt: str, chosen: list[str], rng: np.random.Generator, n_wrong: int):
    """One row of RewardBench 2."""
    rejected = [text(rng, 6 + i) for i in range(n_wrong)]
    return {
        "id": name,
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "num_correct": len(chosen),
        "num_incorrect": len(rejected),
        "total_completions": len(chosen) + len(rejected),
        "models": ["made-up"] * (len(chosen) + len(rejected)),
        "subset": subset,
        "additional_metadata": None,
    }
