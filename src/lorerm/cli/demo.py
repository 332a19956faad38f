"""The whole way on simulated annotators: no network, no GPU, under a minute, each time from the start."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.cli.console import output, progress
from lorerm.cli.prepare import tell_prepared
from lorerm.cli.report import report, tell_report
from lorerm.errors import ConfigError, RunError
from lorerm.pipeline import steps, studies
from lorerm.pipeline.config import SplitConfig
from lorerm.pipeline.folder import MANIFEST, RunFolder
from lorerm.pipeline.sources import PREFERENCES
from lorerm.training.config import TrainingConfig

if TYPE_CHECKING:
    import argparse

    from lorerm.data.datasets.simulated import SimulatedPopulation

# Of a run folder.
CONTENTS = {
    *(MANIFEST, PREFERENCES, "comparisons.parquet", "embeddings", "models", steps.REPORT),
    *(studies.SHOTS, studies.SEEDS, "rewardbench"),
}
_SHOWN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), metavar="RUN", help="the run folder (default: runs/demo)"
    )
    parser.add_argument(
        "--users", type=int, default=300, metavar="INT", help="how many annotators to simulate (default: 300)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="INT", help="of the population, the split and the training (default: 0)"
    )


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    from lorerm.data.datasets.simulated import simulate
    from lorerm.embedding.hashing import HashingEncoder

    started = time.monotonic()
    if parsed.seed < 0:
        raise ConfigError(f"--seed is {parsed.seed}", "give a whole number from 0 on")
    population = simulate(parsed.users, parsed.seed)
    _clear(parsed.out)
    console = output()
    console.print(
        f"{parsed.users} simulated annotators, each with tastes of their own, choose between responses. "
        "A model of one taste for all is compared with personal ones, on people and prompts that it has never seen.",
    )
    with progress() as show:
        run = RunFolder.create(parsed.out, show)
        options = {"n_users": parsed.users, "seed": parsed.seed}
        prepared = steps.prepare(run, ["simulated"], SplitConfig(seed=parsed.seed), options=options)
    tell_prepared(prepared)
    with progress() as show:
        run = RunFolder.open(parsed.out, show)
        steps.embed(run, HashingEncoder, {"model": None})
        steps.train(run, TrainingConfig(seed=parsed.seed))
        report(run)
    _show_one_person(run, population)
    tell_report(run)
    console.print(
        f"The true tastes would reach {population.upper_bound:.1%} (annotators slip). "
        f"Done in {time.monotonic() - started:.0f} s.",
        soft_wrap=True,
    )


def _clear(out: Path) -> None:
    """Remove an earlier demo, and nothing else."""
    if not (out / MANIFEST).exists():
        return
    run = RunFolder.open(out)
    prepared = run.arguments("prepare")
    is_demo = [entry["name"] for entry in prepared.get("input", [])] == ["simulated"] and prepared["options"]
    strangers = {entry.name for entry in out.iterdir() if not entry.name.startswith(".")} - CONTENTS
    if (run.manifest()["steps"] and not is_demo) or strangers:
        raise RunError(
            f"{out} holds more than an earlier demo ({min(strangers, default='another run')})",
            "choose another folder with --out",
        )
    for name in sorted(CONTENTS, key=lambda name: name == MANIFEST):  # last what tells that it is a demo
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _show_one_person(run: RunFolder, population: SimulatedPopulation) -> None:
    """Rank one prompt's responses for the unseen person whom adaptation moved most, before and after it."""
    import numpy as np
    import torch
    from rich.table import Table

    from lorerm.embedding.hashing import HashingEncoder
    from lorerm.embedding.store import load_embedded
    from lorerm.pipeline.models import chosen_rank, load_model

    model = load_model(run)
    data = load_embedded(run.path)
    cells = dict(zip(zip(data.user_ids, data.prompt_ids, strict=True), np.asarray(data.splits), strict=True))
    shots = [user for (user, _), cell in cells.items() if cell == "train_unseen"]
    unseen = list(dict.fromkeys(shots))
    console = output()
    if chosen_rank(run) < 2 or not unseen:
        console.print("Validation chose one direction for everybody: nobody's ranking is personal.")
        return
    moved = torch.stack([model.user_weights(user) - model.population_weights for user in unseen])
    person = unseen[int((moved @ model.basis.t()).norm(dim=1).argmax())]
    prompt_id = next(prompt for (user, prompt), cell in cells.items() if user == person and cell == "test_unseen")
    answers = [answer for answer in population.responses if answer.prompt_id == prompt_id]
    texts = [answer.text for answer in answers]
    encoder = HashingEncoder()
    rankings = [model.rank(answers[0].prompt, texts, user, encoder=encoder)[:_SHOWN] for user in (None, person)]
    title = (
        f"{person} likes it {population.taste_of(person)}. Before and after {shots.count(person)} answers of theirs, "
        f'for a new prompt:\n"{answers[0].prompt}"'
    )
    table = Table(
        "", "before (the population's model)", "after (their own)", title=title, title_justify="left", show_lines=True
    )
    for place, ranked in enumerate(zip(*rankings, strict=True), 1):
        table.add_row(str(place), *(_brief(texts[response.index]) for response in ranked))
    console.print()
    console.print(table)


def _brief(text: str, length: int = 120) -> str:
    """Return how a text begins, and its length."""
    flat = " ".join(text.split())
    start = flat if len(flat) <= length else flat[:length].rsplit(" ", 1)[0] + " ..."
    return f"{start} ({len(flat.split())} words)"
