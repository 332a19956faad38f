"""Training: from embedded preferences to a personal reward model, by the configuration's recipe and rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import torch

from lorerm.encoding.embedded_preferences import as_reference
from lorerm.errors import ConfigError
from lorerm.learning import paper
from lorerm.learning.config import AdaptationConfig, TrainingConfig
from lorerm.learning.trainers import DefaultTrainer, PublishedTrainer, Trained, Trainer
from lorerm.model.reward_model import LowRankRewardModel

if TYPE_CHECKING:
    from lorerm.encoding.embedded_preferences import EmbeddedPreferences, Matrix

Progress = Callable[[str, int, int], None]

AUTO_RANKS = (0, 1, 2, 3, 4, 5)


def train(
    data: EmbeddedPreferences,
    config: TrainingConfig | None = None,
    reference: Matrix | None = None,
    *,
    progress: Progress | None = None,
) -> LowRankRewardModel:
    """Learn the basis and the weights of the users in `data`.

    Parameters
    ----------
    data
        The training pairs (of the seen users: `Splits.train_seen`); validation pairs are cut from these.
    config
        Recipe, rank, seed; None is the default recipe with the rank that validation chooses.
    reference
        Float [D]: the reward model's own head; None takes `data.reference`, which may be None too.
    progress
        Called with (what is trained, steps done, steps in all).

    Raises
    ------
    ConfigError
        If the rank is larger than the data supports, or the recipe needs a reference head and there is none.
    """
    config = config or TrainingConfig()
    ranks: Sequence[int] = [config.rank] if config.rank != "auto" else possible_ranks(data, AUTO_RANKS, reference)
    models = dict(train_ranks(data, ranks, config, reference, progress=progress))
    return models[choose_rank(models)]


def train_ranks(
    data: EmbeddedPreferences,
    ranks: Sequence[int],
    config: TrainingConfig,
    reference: Matrix | None = None,
    *,
    progress: Progress | None = None,
) -> Iterator[tuple[int, LowRankRewardModel]]:
    """Yield (rank, model) for each rank, each as soon as it is done; what the ranks share is computed once.

    `config.rank` is not looked at; otherwise as `train`.
    """
    limit = largest_rank(data)
    for rank in ranks:
        if rank > limit:
            users = len(data.index_users()[0])
            raise ConfigError(
                f"rank {rank} is larger than the data supports ({users} users, dimension {data.dimension})",
                f"ask for a rank of at most {limit}",
            )
    recipe = DefaultTrainer if config.recipe == "default" else PublishedTrainer
    trainer = recipe(data, config, _reference_head(data, reference))
    for rank in ranks:
        name = f"rank {rank}"
        tell = None if progress is None else lambda done, total, name=name: progress(name, done, total)
        trained = trainer.reference_alone() if rank == 0 else trainer.fit(rank, tell)
        yield rank, _model(data, trainer, trained, rank)


def choose_rank(models: Mapping[int, LowRankRewardModel]) -> int:
    """Return the rank that validation prefers: the smallest that is not worse than the best by a standard error.

    The standard error is over users, of the difference of their losses: personal weights have to earn their place.
    Without validation pairs the smallest rank from 1 on wins; models that were saved without their users are compared
    by their mean losses alone.
    """
    losses = {
        rank: model.training["validation"]["loss"] for rank, model in models.items() if model.training.get("validation")
    }
    if not losses:
        return min(models, key=lambda rank: (rank == 0, rank))
    best = min(losses, key=lambda rank: (losses[rank], rank))
    return min(rank for rank in losses if not _clearly_better(models[best], models[rank]))


def largest_rank(data: EmbeddedPreferences) -> int:
    """Return the largest rank that the data can determine: as many directions as users, and as dimensions."""
    return min(len(data.index_users()[0]), data.dimension)


def possible_ranks(data: EmbeddedPreferences, ranks: Sequence[int], reference: Matrix | None = None) -> list[int]:
    """Return those of `ranks` that the data can determine; rank 0 needs a reference head."""
    limit, head = largest_rank(data), _reference_head(data, reference)
    return [rank for rank in ranks if rank <= limit and (rank > 0 or head is not None)]


def adaptation_for(config: TrainingConfig) -> AdaptationConfig:
    """Return the adaptation that goes with a training recipe."""
    if config.recipe == "default":
        return AdaptationConfig(seed=config.seed)
    return AdaptationConfig(recipe="paper", seed=config.seed, **paper.few_shot_constants(config.recipe))


def _clearly_better(model: LowRankRewardModel, other: LowRankRewardModel) -> bool:
    """Tell whether a model's validation loss is lower by more than a standard error of the difference over users."""
    if model.validation_loss is None or other.validation_loss is None:
        return bool(model.training["validation"]["loss"] < other.training["validation"]["loss"])
    gain = (other.validation_loss - model.validation_loss).double()
    gain = gain[gain.isfinite()]
    return len(gain) > 1 and float(gain.mean()) > float(gain.std()) / len(gain) ** 0.5


def _reference_head(data: EmbeddedPreferences, reference: Matrix | None) -> torch.Tensor | None:
    given = data.reference if reference is None else reference
    if given is None:
        return None
    return torch.from_numpy(as_reference(given, data.dimension))


def _model(data: EmbeddedPreferences, trainer: Trainer, trained: Trained, rank: int) -> LowRankRewardModel:
    validation, losses = None, None
    if trained.score is not None:
        score = trained.score
        validation = {"loss": score.loss, "accuracy": score.accuracy, "n_users": len(score.user_ids)}
        by_user = dict(zip(score.user_ids, score.losses.tolist(), strict=True))
        losses = torch.tensor([by_user.get(user, float("nan")) for user in trainer.pairs.user_ids])
    return LowRankRewardModel(
        basis=trained.basis,
        weights=trained.weights,
        user_ids=trainer.pairs.user_ids,
        prior=trained.prior,
        temperature=trained.temperature,
        requested_rank=rank,
        covariance=trained.covariance,
        reference=trainer.reference,
        encoder=data.encoder,
        training={
            "config": asdict(replace(trainer.config, rank=rank)),
            "chosen": trained.chosen,
            "validation": validation,
        },
        validation_loss=losses,
    )
