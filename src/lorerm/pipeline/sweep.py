"""The training of a run: every rank at every alpha, each kept as soon as it is done, and the choice among them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from lorerm.errors import ConfigError, RunError
from lorerm.pipeline.models import MODELS, load_trained, model_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.pipeline.folder import RunFolder
    from lorerm.training.config import TrainingConfig


def check_training(run: RunFolder, data: EmbeddedPreferences, config: TrainingConfig, ranks: Sequence[int]) -> None:
    """Refuse what cannot be trained before anything is given up for it."""
    from lorerm.embedding.store import reference_reason
    from lorerm.training.train import largest_rank

    if not 0 <= config.seed < 2**63:
        raise ConfigError(f"seed is {config.seed}", "give a whole number from 0 on, below 2 to the 63rd")
    limit, n_users = largest_rank(data), len(data.index_users()[0])
    smallest = 1 if data.reference is None else 0
    for rank in ranks:
        if not 0 <= rank <= limit:
            raise ConfigError(
                f"rank {rank} is beyond what the data support (seen users: {n_users}, dimension: {data.dimension})",
                f"ask for ranks from {smallest} to {limit}",
            )
    if data.reference is None:
        why = f"there is none ({reference_reason(run.path)})"
        if 0 in ranks:
            raise ConfigError(f"rank 0 is the reference head alone, and {why}", "ask for ranks from 1 on")
        if config.recipe == "paper-cosine" or config.alpha:
            raise ConfigError(
                f"the regulariser of recipe {config.recipe} needs a reference head, and {why}",
                "embed with a reward model that has a linear head, or choose another recipe or alpha",
            )


def train_missing(
    run: RunFolder,
    data: EmbeddedPreferences,
    configs: Mapping[float | None, TrainingConfig],
    ranks: Sequence[int],
) -> dict[str, Any]:
    """Train what is not there yet, alpha by alpha, and choose one model."""
    from lorerm.model.io import save_model
    from lorerm.training.train import choose_rank, train_ranks

    done = run.done("train")
    if not done:
        shutil.rmtree(run.path / MODELS, ignore_errors=True)
    chosen: dict[float | None, LowRankRewardModel] = {}
    for alpha, config in configs.items():
        name = "" if alpha is None else f"alpha {alpha:g}, "
        models: dict[int, LowRankRewardModel] = {}
        for rank in ranks:
            if f"{name}{rank}" in done:
                try:
                    models[rank] = load_trained(run, rank, alpha)
                except RunError:
                    continue  # damaged since: trained again
        missing = [rank for rank in ranks if rank not in models]
        trained = train_ranks(data, missing, config, progress=_telling(run, name))
        for rank in missing:
            run.tell(f"{name}rank {rank}", 0, 1)
            models[rank] = next(trained)[1]
            save_model(models[rank], model_folder(run, rank, alpha), include_users=True)
            run.mark_done("train", f"{name}{rank}")
        chosen[alpha] = models[choose_rank(models)]
    best = min(chosen, key=lambda alpha: _validation_loss(chosen[alpha]))
    return {
        "ranks": sorted(ranks),
        "chosen_rank": chosen[best].requested_rank,
        "alphas": None if None in chosen else list(chosen),
        "chosen_alpha": best,
    }


def _telling(run: RunFolder, name: str) -> Callable[[str, int, int], None]:
    return lambda stage, done, total: run.tell(f"{name}{stage}", done, total)


def _validation_loss(model: LowRankRewardModel) -> float:
    """Return the loss that alphas are compared by; infinite without validation pairs, so that the first one stays."""
    validation = model.training.get("validation")
    return float("inf") if validation is None else float(validation["loss"])
