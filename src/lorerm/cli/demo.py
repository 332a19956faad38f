"""Make a complete run on simulated users: no network, no GPU, under a minute. An earlier demo is replaced."""

from __future__ import annotations

import argparse
import shutil
import time
from contextlib import nullcontext
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
    from lorerm.data.datasets.simulated import SimulatedPopulation

_N_SHOWN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), metavar="RUN", help="the run folder (default: runs/demo)"
    )
    parser.add_argument(
        "--users", type=int, default=300, metavar="INT", help="number of simulated users (default: 300)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="INT",
        help="random seed of the simulation, the split and the training (default: 0)",
    )


def call(parsed: argparse.Namespace) -> None:
    """Simulate users, run the default experiment on them, and print one user's ranking and the report."""
    from lorerm.data.datasets.simulated import simulate
    from lorerm.embedding.hashing import HashingEncoder

    started = time.monotonic()
    if parsed.seed < 0:
        raise ConfigError(f"--seed is {parsed.seed}", "give 0 or a larger integer", argument="seed")
    population = simulate(parsed.users, parsed.seed)
    _remove_earlier_demo(parsed.out)
    output().print(
        f"{parsed.users} simulated users, each with their own taste, compare responses. "
        "Personal models are compared with one model for all users, on users and prompts that no model has seen.",
    )
    settings = Experiment(
        data={"n_users": parsed.users, "seed": parsed.seed}, split={"seed": parsed.seed}, train={"seed": parsed.seed}
    )
    with progress() as show:
        run = run_experiment(
            parsed.out,
            Source(["simulated"], settings),
            nullcontext(HashingEncoder),
            {"model": None},
            progress=show,
            on_prepared=lambda found: show.interrupt(lambda: show_prepared(found)),
        )
    _show_one_user(run, population)
    show_report(run)
    say(
        f"The users' true preferences predict {population.upper_bound:.1%} of the comparisons; the rest are random "
        f"errors. Done in {time.monotonic() - started:.0f} s."
    )


def _remove_earlier_demo(out: Path) -> None:
    """Remove the files of an earlier demo. Raises `RunError` if the folder contains anything else."""
    if not (out / MANIFEST).exists():
        return
    run = RunFolder.open(out)
    prepared = run.arguments("prepare")
    # The demo always sets options of the simulation.
    is_demo = [entry["name"] for entry in prepared.get("input", [])] == ["simulated"] and prepared["options"]
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


def _show_one_user(run: RunFolder, population: SimulatedPopulation) -> None:
    """Print the ranking of one prompt's responses for the unseen user whose adaptation changed the model most."""
    import numpy as np
    import torch
    from rich.table import Table

    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.embedding.hashing import HashingEncoder
    from lorerm.pipeline.models import chosen_rank, load_model

    model = load_model(run)
    data = EmbeddedPreferences.load(run.path)
    splits = dict(zip(zip(data.user_ids, data.prompt_ids, strict=True), np.asarray(data.splits), strict=True))
    few_shot = [user for (user, _), split in splits.items() if split == "train_unseen"]
    unseen = list(dict.fromkeys(few_shot))
    if chosen_rank(run) < 2 or not unseen:
        output().print("Validation chose a model that gives all users the same ranking.")
        return
    moved = torch.stack([model.user_weights(user) - model.population_weights for user in unseen])
    user = unseen[int((moved @ model.basis.t()).norm(dim=1).argmax())]
    prompt_id = next(prompt for (one, prompt), split in splits.items() if one == user and split == "test_unseen")
    responses = [response for response in population.responses if response.prompt_id == prompt_id]
    texts = [response.text for response in responses]
    encoder = HashingEncoder()
    rankings = [model.rank(responses[0].prompt, texts, one, encoder=encoder)[:_N_SHOWN] for one in (None, user)]
    title = (
        f"{user} prefers: {population.taste_of(user)}. The ranking before and after {few_shot.count(user)} of their "
        f'comparisons, for a new prompt:\n"{responses[0].prompt}"'
    )
    table = Table(
        "",
        "before (the population model)",
        "after (their own model)",
        title=title,
        title_justify="left",
        show_lines=True,
    )
    for rank, ranked in enumerate(zip(*rankings, strict=True), 1):
        table.add_row(str(rank), *(_brief(texts[response.index]) for response in ranked))
    show_blocks([table])


def _brief(text: str, length: int = 120) -> str:
    """Return the beginning of a text, followed by its number of words."""
    flat = " ".join(text.split())
    start = flat if len(flat) <= length else flat[:length].rsplit(" ", 1)[0] + " ..."
    return f"{start} ({len(flat.split())} words)"
