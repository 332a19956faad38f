"""Make a complete run, of simulated users or of a sample of real users: no network, no GPU, under a minute.

An earlier demo in the run folder is replaced.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.cli.console import output, progress, say, show_blocks
from lorerm.cli.prepare import show_prepared
from lorerm.cli.report import show_report
from lorerm.errors import ConfigError, RunError
from lorerm.pipeline.experiment import Experiment
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.layout import MANIFEST, top_level, unknown_files
from lorerm.pipeline.run import run_experiment
from lorerm.pipeline.sources import Source

if TYPE_CHECKING:
    from lorerm.data.preferences import Preferences

SIMULATED, POLIS = "simulated", "polis"
_N_USERS = 300
# The user whose ranking is shown has at least this number of few-shot comparisons, if any user has.
_MIN_SHOTS = 20


@dataclass(frozen=True)
class _Task:
    """A prompt and responses to it, which the model ranks for a user."""

    title: str
    """title of the table; {n_shots} is replaced by the number of the user's comparisons"""
    prompt: str
    texts: list[str]
    shown: list[str]
    """the responses as the table shows them"""


@dataclass(frozen=True)
class _Demo:
    """Settings and printed texts of a demo that depend on its users."""

    people: str
    """the name of the data set"""
    opening: str
    task_of: Callable[[str, Sequence[str]], _Task]
    """function from a user, and the prompt ids of the user's test comparisons, to the task that is shown"""
    n_shown: int
    """number of responses that the table shows"""
    closing: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), metavar="RUN", help="the run folder (default: runs/demo)"
    )
    parser.add_argument(
        "--people",
        choices=[SIMULATED, POLIS],
        default=SIMULATED,
        help="users of the demo: simulated ones with known tastes, or participants of a public consultation on Pol.is "
        "(default: simulated)",
    )
    parser.add_argument("--users", type=int, metavar="INT", help=f"number of simulated users (default: {_N_USERS})")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="INT",
        help="random seed of the comparisons, the split and the training (default: 0)",
    )


def call(parsed: argparse.Namespace) -> None:
    """Run the default experiment on the users of the demo, and print one user's ranking and the report."""
    from lorerm.embedding.hashing import HashingEncoder

    started = time.monotonic()
    if parsed.seed < 0:
        raise ConfigError(f"--seed is {parsed.seed}", "give 0 or a larger integer", argument="seed")
    if parsed.users is not None and parsed.people != SIMULATED:
        raise ConfigError(
            f"--users is the number of simulated users, but --people is {parsed.people}",
            "leave it out",
            argument="users",
        )
    options = {"seed": parsed.seed}
    if parsed.people == SIMULATED:
        options |= {"n_users": _N_USERS if parsed.users is None else parsed.users}
    demo = (_simulated if parsed.people == SIMULATED else _polis)(options)
    _remove_earlier_demo(parsed.out)
    output().print(
        f"{demo.opening} Personal models are compared with one model for all users, on users and prompts that no model "
        "has seen."
    )
    settings = Experiment(data=options, split={"seed": parsed.seed}, train={"seed": parsed.seed})
    with progress() as show:
        run = run_experiment(
            parsed.out,
            Source([demo.people], settings),
            nullcontext(HashingEncoder),
            {"model": None},
            progress=show,
            on_prepared=lambda found: show.interrupt(lambda: show_prepared(found)),
        )
    _show_one_user(run, demo)
    show_report(run)
    say(f"{demo.closing} Done in {time.monotonic() - started:.0f} s.")


def _simulated(options: dict[str, int]) -> _Demo:
    from lorerm.data.datasets.simulated import simulate

    population = simulate(**options)

    def task_of(user: str, prompt_ids: Sequence[str]) -> _Task:
        responses = [response for response in population.responses if response.prompt_id == prompt_ids[0]]
        title = (
            f"{user} prefers: {population.taste_of(user)}. The ranking before and after {{n_shots}} of their "
            "comparisons, for a new prompt:\n"
        )
        texts = [response.text for response in responses]
        shown = [f"{_beginning(text)} ({len(text.split())} words)" for text in texts]
        return _Task(f'{title}"{responses[0].prompt}"', responses[0].prompt, texts, shown)

    return _Demo(
        SIMULATED,
        f"{options['n_users']} simulated users, each with their own taste, compare responses.",
        task_of,
        3,
        f"The users' true preferences predict {population.upper_bound:.1%} of the comparisons; the rest are random "
        "errors.",
    )


def _polis(options: dict[str, int]) -> _Demo:
    from lorerm.data.datasets import load_dataset
    from lorerm.data.datasets.polis import ATTRIBUTION, TOPIC

    preferences = load_dataset(POLIS, **options)

    def task_of(user: str, prompt_ids: Sequence[str]) -> _Task:
        agreed, disagreed = max((_statements(preferences, prompt_id) for prompt_id in prompt_ids), key=_n_smaller)
        title = (
            f"{user}: statements without a vote of this user in the training data, ranked before and after {{n_shots}} "
            "of their comparisons. [+] is a statement that they agreed with, [-] one that they disagreed with.\n"
        )
        shown = [f"[{sign}] {_beginning(text)}" for sign, part in (("+", agreed), ("-", disagreed)) for text in part]
        return _Task(f'{title}"{TOPIC}"', TOPIC, agreed + disagreed, shown)

    n_users = len(set(preferences.user_ids))
    return _Demo(
        POLIS,
        f"{n_users} participants of a public consultation prefer statements that they agreed with to statements that "
        "they disagreed with.",
        task_of,
        6,
        f"{ATTRIBUTION}.",
    )


def _statements(preferences: Preferences, prompt_id: str) -> tuple[list[str], list[str]]:
    """Return the statements that a user agreed and disagreed with, among those of one prompt id."""
    import numpy as np

    rows = preferences.select(np.asarray(preferences.prompt_ids) == prompt_id)
    agreed, disagreed = (
        list(dict.fromkeys(turns[-1]["content"] for turns in rows.messages(end))) for end in ("chosen", "rejected")
    )
    return agreed, disagreed


def _n_smaller(parts: tuple[list[str], list[str]]) -> int:
    return min(map(len, parts))


def _remove_earlier_demo(out: Path) -> None:
    """Remove the files of an earlier demo. Raises `RunError` if the folder contains anything else."""
    if not (out / MANIFEST).exists():
        return
    run = RunFolder.open(out)
    prepared = run.arguments("prepare")
    # The demo always sets options of the data set.
    names = [entry["name"] for entry in prepared.get("input", [])]
    is_demo = names in ([SIMULATED], [POLIS]) and prepared["options"]
    other = unknown_files(out)
    if (run.manifest()["steps"] and not is_demo) or other:
        what = other[0].relative_to(out) if other else "another run"
        raise RunError(f"{out} contains more than an earlier demo ({what})", "choose another folder with --out")
    for name in top_level():
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _show_one_user(run: RunFolder, demo: _Demo) -> None:
    """Print the ranking of one prompt's responses for an unseen user.

    The user is the one whose rewards differ most from the population's, among users with enough responses to rank.
    """
    import numpy as np
    import torch
    from rich.markup import escape
    from rich.table import Table

    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.embedding.hashing import HashingEncoder
    from lorerm.pipeline.models import chosen_rank, load_model

    model = load_model(run)
    data = EmbeddedPreferences.load(run.path)
    user_ids, prompt_ids, splits = (np.asarray(column) for column in (data.user_ids, data.prompt_ids, data.splits))
    n_shots = Counter(user_ids[splits == "train_unseen"].tolist())
    unseen = [user for user, count in n_shots.items() if count >= _MIN_SHOTS] or list(n_shots)
    if chosen_rank(run) < 2 or not unseen:
        output().print("Validation chose a model that gives all users the same ranking.")
        return
    moved = torch.stack([model.user_weights(user) - model.population_weights for user in unseen])
    order = (moved @ model.basis.t()).norm(dim=1).argsort(descending=True, stable=True)
    tasks = []
    for user in (unseen[row] for row in order.tolist()):
        is_test = (user_ids == user) & (splits == "test_unseen")
        task = demo.task_of(user, list(dict.fromkeys(prompt_ids[is_test].tolist())))
        tasks.append((user, task))
        if len(task.texts) >= demo.n_shown:
            break
    user, task = tasks[-1]
    encoder = HashingEncoder()
    rankings = [model.rank(task.prompt, task.texts, one, encoder=encoder)[: demo.n_shown] for one in (None, user)]
    table = Table(
        "",
        "before (the population model)",
        "after (their own model)",
        title=escape(task.title.format(n_shots=n_shots[user])),
        title_justify="left",
        show_lines=True,
    )
    for rank, ranked in enumerate(zip(*rankings, strict=True), 1):
        table.add_row(str(rank), *(escape(task.shown[response.index]) for response in ranked))
    show_blocks([table])


def _beginning(text: str, length: int = 120) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[:length].rsplit(" ", 1)[0] + " ..."
