"""Train personal reward models on embedded preferences, by the recipe (training method) and rank of a configuration."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import torch

from lorerm.embedding.checks import check_distinguishable, count_same, same_warnings, scale_warnings
from lorerm.embedding.matrices import as_reference
from lorerm.errors import ConfigError
from lorerm.model.reward_model import LowRankRewardModel
from lorerm.training.config import TrainingConfig
from lorerm.training.recipes import find_recipe
from lorerm.training.validation import improves_by_one_se

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.embedding.matrices import Matrix
    from lorerm.training.trainer import Trainer

Progress = Callable[[str, int, int], None]
"""Callback with three arguments: a label such as "rank 2", the steps done, and the number of steps."""

# Ranks among which validation chooses if the rank is "auto".
AUTO_RANKS = (0, 1, 2, 3, 4, 5)


def train(
    data: EmbeddedPreferences,
    config: TrainingConfig | None = None,
    reference: Matrix | None = None,
    *,
    progress: Progress | None = None,
) -> LowRankRewardModel:
    """Train the basis and the weights of the users in `data`.

    Parameters
    ----------
    data
        The training comparisons (`Splits.train_seen`). The validation split is made from them.
    config
        Settings of the training; None is the default recipe with the rank that validation chooses.
    reference
        Float [D]: the reference head, which is the encoder's own reward head (a linear layer). None takes
        `data.reference`, which can also be None.
    progress
        Called with a label such as "rank 2", the steps done, and the number of steps.

    Raises
    ------
    ConfigError
        If the rank is larger than the data supports, or the recipe needs a reference head and none is given.
    DataError
        If nearly all comparisons have two responses with the same embedding.

    Warns
    -----
    UserWarning
        If the data limit what can be learnt, see `training_warnings`.
    """
    config = config or TrainingConfig()
    for sentence in training_warnings(data):
        warnings.warn(sentence, UserWarning, stacklevel=2)
    if config.rank != "auto":
        return dict(train_ranks(data, [config.rank], config, reference, progress=progress))[config.rank]
    ranks = possible_ranks(data, AUTO_RANKS, reference)
    trainer = _trainer(data, config, reference)
    scores = {rank: trainer.validate(rank) for rank in ranks}
    losses = {rank: (score.loss, torch.from_numpy(score.losses)) for rank, score in scores.items() if score is not None}
    return _fit(data, trainer, _preferred(losses, ranks), progress)


def train_ranks(
    data: EmbeddedPreferences,
    ranks: Sequence[int],
    config: TrainingConfig,
    reference: Matrix | None = None,
    *,
    progress: Progress | None = None,
) -> Iterator[tuple[int, LowRankRewardModel]]:
    """Train several ranks, and yield (rank, model) for each; work that the ranks share is done once.

    `config.rank` is ignored; the other arguments are as in `train`.
    """
    limit = largest_rank(data)
    for rank in ranks:
        if rank > limit:
            users = len(data.index_users()[0])
            raise ConfigError(
                f"rank {rank} is larger than the data supports ({users} users, dimension {data.dimension})",
                f"ask for a rank of at most {limit}",
                argument="rank",
            )
    trainer = _trainer(data, config, reference)
    for rank in ranks:
        yield rank, _fit(data, trainer, rank, progress)


def training_warnings(data: EmbeddedPreferences) -> list[str]:
    """Return sentences about data that limit what training can learn from them.

    They are about weights that count as next to no feedback or as far too much, embeddings of an unusual scale, and
    comparisons whose two responses have the same embedding.
    """
    n_same = count_same(data.responses, data)
    return [
        *data.weight_warnings(),
        *scale_warnings(data.responses, data),
        *same_warnings(n_same, len(data)),
    ]


def choose_rank(models: Mapping[int, LowRankRewardModel]) -> int:
    """Return the rank with the smallest validation loss, or rank 0 or 1 if its loss is about as small.

    Rank 0 (the encoder's own reward head) and rank 1 (one direction for all users) are not personal.


    - If the best rank improves on ranks 0 and 1 by more than one standard error over users, it is chosen.
    - Otherwise, the smaller of the ranks 0 and 1 on which it does not improve by that much is chosen.
    - If losses by user are missing (models saved without users), any smaller mean loss counts as an improvement.
    - Without a validation split, the smallest rank of at least 1 is chosen.
    """
    losses = {
        rank: (model.training["validation"]["loss"], model.validation_loss)
        for rank, model in models.items()
        if model.training.get("validation")
    }
    return _preferred(losses, models)


def largest_rank(data: EmbeddedPreferences) -> int:
    """Return the largest rank that the data can determine: the number of users or the dimension, if that is smaller."""
    return min(len(data.index_users()[0]), data.dimension)


def possible_ranks(data: EmbeddedPreferences, ranks: Sequence[int], reference: Matrix | None = None) -> list[int]:
    """Return the ranks that the data can determine, among `ranks`; rank 0 needs a reference head."""
    limit, head = largest_rank(data), _reference_head(data, reference)
    return [rank for rank in ranks if rank <= limit and (rank > 0 or head is not None)]


def _preferred(losses: Mapping[int, tuple[float, torch.Tensor | None]], ranks: Iterable[int]) -> int:
    """Apply the rule of `choose_rank` to each rank's mean validation loss and its losses by user (None if unknown)."""
    if not losses:
        return min(ranks, key=lambda rank: (rank == 0, rank))
    best = min(losses, key=lambda rank: (losses[rank][0], rank))
    simpler = [rank for rank in losses if rank <= 1 and not _improves(losses[best], losses[rank])]
    return min(simpler, default=best)


def _improves(one: tuple[float, torch.Tensor | None], other: tuple[float, torch.Tensor | None]) -> bool:
    if one[1] is None or other[1] is None:
        return one[0] < other[0]
    return improves_by_one_se(one[1], other[1])


def _trainer(data: EmbeddedPreferences, config: TrainingConfig, reference: Matrix | None) -> Trainer:
    recipe, head = find_recipe(config.recipe), _reference_head(data, reference)
    if head is None and recipe.needs_reference(config):
        raise ConfigError(
            f"recipe {config.recipe!r} with these settings needs the encoder's own reward head, and none is given",
            "train on embeddings of a reward model with a linear head, or choose another recipe or alpha 0",
            argument="reference",
        )
    trainer = recipe.trainer(data, config, head)
    check_distinguishable(int(trainer.pairs.same.sum()), len(trainer.pairs), fewest=1)
    return trainer


def _reference_head(data: EmbeddedPreferences, reference: Matrix | None) -> torch.Tensor | None:
    given = data.reference if reference is None else reference
    if given is None:
        return None
    return torch.from_numpy(as_reference(given, data.dimension))


def _fit(data: EmbeddedPreferences, trainer: Trainer, rank: int, progress: Progress | None) -> LowRankRewardModel:
    of_rank = None if progress is None else lambda done, total: progress(f"rank {rank}", done, total)
    trained = trainer.fit(rank, of_rank)
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
