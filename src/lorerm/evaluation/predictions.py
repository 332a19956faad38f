"""Predictions of every rank on every split: which comparisons it orders correctly, with own and with other weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.data.schema import SPLITS, TEST_SPLITS
from lorerm.evaluation.intervals import Sample, estimate
from lorerm.evaluation.report import Difference, Estimate, focus_rank
from lorerm.training.adaptation import adapt
from lorerm.training.config import AdaptationConfig, TrainingConfig
from lorerm.training.pairs import PackedPairs
from lorerm.training.recipes import adaptation_for
from lorerm.training.train import choose_rank, train_ranks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from lorerm.arrays import Floats
    from lorerm.data.splits import Splits
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel


OWN, POPULATION, OTHERS = "own", "shared_direction", "other_users_weights"
"""The weights that a user's comparisons are predicted with: their own, the population's, another user's."""
CONTROLS = {POPULATION: "shared direction alone", OTHERS: "another user's weights"}
"""What personal weights are compared with, and its label in `report.json`."""

# Exchanges of weights among users that "another user's weights" is the mean of: more change the mean by less than its
# standard error.
_EXCHANGES = 5


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of several ranks on the four splits."""

    models: Mapping[int, LowRankRewardModel]
    """by rank, in ascending order; the unseen users are among their users"""
    data: Splits[EmbeddedPreferences]
    chosen_rank: int
    """the rank that validation chose"""
    config: TrainingConfig
    """of the chosen model"""
    adaptation: AdaptationConfig
    """of the unseen users"""
    pairs: Mapping[str, PackedPairs]
    """the comparisons of each split that has any, grouped by user"""
    samples: Mapping[str, Sample]
    """user and prompt of each of these comparisons"""
    correct: Mapping[tuple[int, str, str], Floats]
    """by rank, split and weights (`OWN`; from rank 2 on also `CONTROLS`): float64 [n], 1 for a correct prediction"""

    @property
    def focus_rank(self) -> int:
        """The rank whose gains, agreement and axes are reported; see the function `focus_rank` of the report."""
        return focus_rank(self.chosen_rank, {rank: model.fitted_rank for rank, model in self.models.items()})

    def accuracies(self, rank: int, weights: str = OWN) -> dict[str, Estimate | None]:
        """Return the accuracy of a rank on each split, with own weights or a control's; None where there is none."""
        found: dict[str, Estimate | None] = dict.fromkeys(SPLITS)
        for split, sample in self.samples.items():
            correct = self.correct.get((rank, split, weights))
            if correct is not None:
                (found[split],) = estimate(correct[:, None], sample)
        return found

    def differences(self) -> tuple[Difference, ...]:
        """Return the accuracy of each rank minus that of its baselines on the test splits, paired by comparison."""
        found: list[Difference] = []
        for split in TEST_SPLITS:
            keys, columns = [], []
            for rank in self.models:
                own = self.correct.get((rank, split, OWN))
                baselines = {
                    "shared_direction": self.correct.get((rank, split, POPULATION)),
                    "bradley_terry": self.correct.get((1, split, OWN)) if rank > 1 else None,
                    "reference_head": self.correct.get((0, split, OWN)) if rank > 0 else None,
                    "other_users_weights": self.correct.get((rank, split, OTHERS)),
                }
                for against, correct in baselines.items():
                    if own is not None and correct is not None:
                        keys.append((rank, against, split))
                        columns.append(own - correct)
            if columns:
                estimates = estimate(np.stack(columns, axis=1), self.samples[split])
                found += [Difference(*key, one) for key, one in zip(keys, estimates, strict=True)]
        return tuple(sorted(found, key=lambda difference: difference.rank))

    def to_table(self) -> pa.Table:
        """Return every prediction on test prompts: split, user, prompt, share within the user, and a column per rank.

        The column of the split is called `cell`, as in `report.json`.
        """
        import pyarrow as pa

        tables = []
        for split in TEST_SPLITS:
            if split not in self.pairs:
                continue
            pairs, sample, data = self.pairs[split], self.samples[split], getattr(self.data, split)
            prompts = pa.array([str(prompt) for prompt in data.prompt_ids], pa.string())
            columns: dict[str, Any] = {
                "cell": pa.array([split] * len(pairs)).dictionary_encode(),
                "user_id": pa.array(pairs.user_ids, pa.string()).take(pa.array(sample.user)),
                "prompt_id": prompts.take(pa.array(pairs.order)),
                "share": sample.share,
            }
            for rank in self.models:
                columns[f"rank_{rank}"] = self.correct[rank, split, OWN].astype(bool)
            tables.append(pa.table(columns))
        return pa.concat_tables(tables).unify_dictionaries() if tables else pa.table({})


def predict(
    models: Mapping[int, LowRankRewardModel],
    data: Splits[EmbeddedPreferences],
    adaptation: AdaptationConfig | None = None,
    seed: int = 0,
) -> Predictions:
    """Adapt the unseen users and predict every comparison with every rank.

    Parameters
    ----------
    models
        By rank, trained on `data.train_seen`. The reference head (rank 0) and the single Bradley-Terry model (rank 1)
        are added where they are missing, the latter trained by the chosen model's own recipe.
    data
        The four splits; the unseen users are adapted on `data.train_unseen`.
    adaptation
        None is the adaptation that goes with the recipe of training.
    seed
        Seed of the exchange of weights among users.
    """
    chosen = choose_rank(models)
    config = TrainingConfig(**models[chosen].training["config"])
    adaptation = adaptation or adaptation_for(config)
    complete = _with_baselines(models, data.train_seen, config)
    packed = {split: PackedPairs.pack(getattr(data, split)) for split in SPLITS if len(getattr(data, split))}
    correct: dict[tuple[int, str, str], Floats] = {}
    adapted = {}
    for rank, model in sorted(complete.items()):
        # A model of one direction has the same weights for every user.
        is_adapted = model.basis.shape[1] > 1 and len(data.train_unseen)
        adapted[rank] = model.with_users(adapt(model, data.train_unseen, adaptation)) if is_adapted else model
        for split, pairs in packed.items():
            for weights, values in _predict_split(adapted[rank], pairs, seed).items():
                correct[rank, split, weights] = values
    samples = {split: sample_of(pairs, getattr(data, split)) for split, pairs in packed.items()}
    return Predictions(adapted, data, chosen, config, adaptation, packed, samples, correct)


def _with_baselines(
    models: Mapping[int, LowRankRewardModel], train_seen: EmbeddedPreferences, config: TrainingConfig
) -> dict[int, LowRankRewardModel]:
    reference = next(iter(models.values())).reference
    missing = [rank for rank in (0, 1) if rank not in models and (rank == 1 or reference is not None)]
    head = None if reference is None else reference.numpy()
    return {**models, **dict(train_ranks(train_seen, missing, config, head))} if missing else dict(models)


def _predict_split(model: LowRankRewardModel, pairs: PackedPairs, seed: int) -> dict[str, Floats]:
    """Return the correct predictions of one split by the weights that they are made with."""
    weights, projected = weights_of(model, pairs.user_ids), project(pairs, model.basis)
    found = {OWN: is_correct(pairs, projected, weights)}
    if model.requested_rank > 1:
        found[POPULATION] = is_correct(pairs, projected, model.population_weights)
        if pairs.n_users > 1:
            found[OTHERS] = correct_with_others(pairs, projected, weights, seed)
    return found


def sample_of(pairs: PackedPairs, data: EmbeddedPreferences) -> Sample:
    """Return the user and the prompt of each packed comparison of some data."""
    import pyarrow as pa  # its hash table is faster than sorting

    prompts = pa.array([str(prompt) for prompt in data.prompt_ids], pa.string()).dictionary_encode()
    user, count = pairs.user.numpy(), pairs.count.numpy()
    share = count / np.bincount(user, weights=count)[user]
    return Sample(user, prompts.indices.to_numpy().astype(np.int64)[pairs.order], share)


def weights_of(model: LowRankRewardModel, user_ids: Sequence[str]) -> torch.Tensor:
    """Return the weights [M, K] of M users; the population weights of those that the model does not know."""
    index = {user: i for i, user in enumerate(model.user_ids)}
    rows = torch.cat([model.weights, model.population_weights[None]])
    return rows[torch.tensor([index.get(user, -1) for user in user_ids])]  # -1: the last row


def project(pairs: PackedPairs, basis: torch.Tensor) -> torch.Tensor:
    """Return the difference of every comparison along each direction: [n, K] from a basis [D, K]."""
    return pairs.project(basis.t().contiguous())


def is_correct(pairs: PackedPairs, projected: torch.Tensor, weights: torch.Tensor) -> Floats:
    """Return float64 [n]: 1 for each comparison with a positive reward difference, else 0 (a tie counts as wrong).

    `projected` [n, K] are the differences along the basis. `weights` are [M, K], in the order of `pairs.user_ids`, or
    [K], the same for every user.
    """
    margin = projected @ weights if weights.ndim == 1 else (projected * weights[pairs.user]).sum(dim=1)
    return (margin > 0).double().numpy()


def correct_with_others(pairs: PackedPairs, projected: torch.Tensor, weights: torch.Tensor, seed: int) -> Floats:
    """Return `is_correct` with the weights of *another* user of two or more: the mean over several exchanges."""
    rng = np.random.Generator(np.random.PCG64(seed))
    total = np.zeros(len(pairs))
    for _ in range(_EXCHANGES):
        # Each user takes the weights of the next in a random ring, so that no user keeps their own.
        ring = rng.permutation(len(weights))
        donor = np.empty(len(weights), dtype=np.int64)
        donor[ring] = np.roll(ring, 1)
        total += is_correct(pairs, projected, weights[torch.from_numpy(donor)])
    return total / _EXCHANGES
