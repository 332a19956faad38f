"""Training: from embedded preferences to a personal reward model, by the configuration's recipe and rank."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import torch

from lorerm.embedding.matrices import as_reference
from lorerm.errors import ConfigError
from lorerm.model.reward_model import LowRankRewardModel
from lorerm.training import paper
from lorerm.training.config import AdaptationConfig, TrainingConfig
from lorerm.training.recipes import DefaultTrainer, PublishedTrainer, Trained, Trainer

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.embedding.matrices import Matrix

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
    if config.rank != "auto":
        return dict(train_ranks(data, [config.rank], config, reference, progress=progress))[config.rank]
    ranks = possible_ranks(data, AUTO_RANKS, reference)
    trainer = _trainer(data, config, reference)
    scores = {rank: trainer.validate(rank) for rank in ranks}
    losses = {rank: (score.loss, torch.from_numpy(score.losses)) for rank, score in scores.items() if score is not None}
    rank = _preferred(losses) if losses else _simplest(ranks)
    return _model(data, trainer, trainer.fit(rank, _of_rank(progress, rank)), rank)


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
    trainer = _trainer(data, config, reference)
    for rank in ranks:
        yield rank, _model(data, trainer, trainer.fit(rank, _of_rank(progress, rank)), rank)


def choose_rank(models: Mapping[int, LowRankRewardModel]) -> int:
    """Return the rank that validation prefers: the best, if it beats every impersonal one by a standard error.

    The standard error is over users, of the difference of their losses: personal weights have to earn their place.
    Otherwise the smallest of the impersonal ranks, 0 and 1, that is not clearly worse than the best. Without
    validation pairs the smallest rank from 1 on wins; models that were saved without their users are compared by their
    mean losses alone.
    """
    losses = {
        rank: (model.training["validation"]["loss"], model.validation_loss)
        for rank, model in models.items()
        if model.training.get("validation")
    }
    return _preferred(losses) if losses else _simplest(models)


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


def _simplest(ranks: Iterable[int]) -> int:
    return min(ranks, key=lambda rank: (rank == 0, rank))


def _preferred(losses: Mapping[int, tuple[float, torch.Tensor | None]]) -> int:
    """Apply `choose_rank`'s rule to each rank's mean validation loss and the losses of users, where they are there."""
    best = min(losses, key=lambda rank: (losses[rank][0], rank))
    impersonal = [rank for rank in losses if rank <= 1 and not _clearly_better(losses[best], losses[rank])]
    return min(impersonal, default=best)


def _clearly_better(one: tuple[float, torch.Tensor | None], other: tuple[float, torch.Tensor | None]) -> bool:
    """Tell whether a loss is lower by more than a standard error of the difference over users."""
    if one[1] is None or other[1] is None:
        return one[0] < other[0]
    gain = (other[1] - one[1]).double()
    gain = gain[gain.isfinite()]
    return len(gain) > 1 and float(gain.mean()) > float(gain.std()) / len(gain) ** 0.5


def _trainer(data: EmbeddedPreferences, config: TrainingConfig, reference: Matrix | None) -> Trainer:
    recipe = DefaultTrainer if config.recipe == "default" else PublishedTrainer
    return recipe(data, config, _reference_head(data, reference))


def _of_rank(progress: Progress | None, rank: int) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(f"rank {rank}", done, total)


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
        comparisons=trained.comparisons,
        reference=trainer.reference,
        encoder=data.encoder,
        training={
            "config": asdict(replace(trainer.config, rank=rank)),
            "chosen": trained.chosen,
            "validation": validation,
        },
        validation_loss=losses,
    )
