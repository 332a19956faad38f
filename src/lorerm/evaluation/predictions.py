"""Which comparisons each rank predicts correctly, with the users' own weights and with other weights (controls).

A tie, that is two responses with exactly the same reward, counts one half: a model that prefers neither response is
right as often as a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.data.clustering import Sample
from lorerm.data.schema import SPLITS, TEST_SPLITS
from lorerm.evaluation.intervals import ACCURACY, DIFFERENCE, estimate
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
"""The weights with which a user's comparisons are predicted: their own, the prior mean, or another user's."""
CONTROLS = {POPULATION: "shared direction alone", OTHERS: "another user's weights"}
"""The weights that a user's own weights are compared with, and their labels in `report.json`."""

# A tie is worth this share of a correct prediction: the share that a guess would be worth on average.
_TIE = 0.5
# Number of random exchanges of weights among users. The accuracy with another user's weights is the mean over them;
# more exchanges would change it by less than its standard error.
_EXCHANGES = 5


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of several ranks on the four splits."""

    models: Mapping[int, LowRankRewardModel]
    """by rank, in ascending order; models with several directions have the adapted weights of the unseen users, too"""
    data: Splits[EmbeddedPreferences]
    chosen_rank: int
    """the rank that validation chose"""
    config: TrainingConfig
    """training settings of the chosen model"""
    adaptation: AdaptationConfig
    """settings for fitting the weights of the unseen users"""
    pairs: Mapping[str, PackedPairs]
    """comparisons of each non-empty split, grouped by user"""
    samples: Mapping[str, Sample]
    """user, prompt and share of each comparison in `pairs`"""
    correct: Mapping[tuple[int, str, str], Floats]
    """by rank, split and weights (`OWN`; from rank 2 on also `CONTROLS`): float64 [n], 1 if correct, 0 if wrong, 0.5 if
    tied; for `OTHERS` the mean over several exchanges"""

    @property
    def focus_rank(self) -> int:
        """The rank whose gains, agreement and axes are reported, see `lorerm.evaluation.report.focus_rank`."""
        return focus_rank(self.chosen_rank, {rank: model.fitted_rank for rank, model in self.models.items()})

    def accuracies(self, rank: int, weights: str = OWN) -> dict[str, Estimate | None]:
        """Return the accuracy of a rank by split, with `OWN` weights or those of a control; None if not computed."""
        found: dict[str, Estimate | None] = dict.fromkeys(SPLITS)
        for split, sample in self.samples.items():
            correct = self.correct.get((rank, split, weights))
            if correct is not None:
                (accuracy,) = estimate(correct[:, None], sample, ACCURACY)
                # A mean over several exchanges can be one half without a tie.
                n_ties = None if weights == OTHERS else int((correct == _TIE).sum())
                found[split] = replace(accuracy, n_ties=n_ties)
        return found

    def published_accuracies(self, rank: int) -> dict[str, Estimate | None]:
        """Return the accuracy of a rank by split as the paper's code counts it: a tie is wrong."""
        found: dict[str, Estimate | None] = dict.fromkeys(SPLITS)
        for split, sample in self.samples.items():
            (found[split],) = estimate(
                (self.correct[rank, split, OWN] == 1).astype(np.float64)[:, None], sample, ACCURACY
            )
        return found

    def differences(self) -> tuple[Difference, ...]:
        """Return the accuracy of each rank minus that of each baseline, paired by comparison, on the test splits."""
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
                estimates = estimate(np.stack(columns, axis=1), self.samples[split], DIFFERENCE)
                found += [Difference(*key, one) for key, one in zip(keys, estimates, strict=True)]
        return tuple(sorted(found, key=lambda difference: difference.rank))

    def to_table(self) -> pa.Table:
        """Return a table with one row per comparison on test prompts.

        Its columns are:

        - `cell`: the split, under the name that it has in `report.json`;
        - `user_id` and `prompt_id`;
        - `share`: weight of the comparison in the mean of its user;
        - `rank_K` for each rank K: 1 if the prediction with the user's own weights is correct, 0 if it is wrong, 0.5 if
          both responses have the same reward.
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
                columns[f"rank_{rank}"] = self.correct[rank, split, OWN].astype(np.float32)
            tables.append(pa.table(columns))
        return pa.concat_tables(tables).unify_dictionaries() if tables else pa.table({})


def predict(
    models: Mapping[int, LowRankRewardModel],
    data: Splits[EmbeddedPreferences],
    adaptation: AdaptationConfig | None = None,
    seed: int = 0,
) -> Predictions:
    """Fit the weights of the unseen users, and predict every comparison with every rank.

    Parameters
    ----------
    models
        Models by rank, trained on `data.train_seen`. If rank 0 (the encoder's own reward head) or rank 1 (one direction
        for all users) is missing, it is added; rank 1 is trained with the settings of the chosen model.
    data
        The four splits; the weights of the unseen users are fitted to `data.train_unseen`.
    adaptation
        Settings of that fit; None uses the settings that belong to the recipe of training.
    seed
        Seed of the random exchanges of weights among users.
    """
    chosen = choose_rank(models)
    config = TrainingConfig(**models[chosen].training["config"])
    adaptation = adaptation or adaptation_for(config)
    complete = _with_baselines(models, data.train_seen, config)
    packed = {split: PackedPairs.pack(getattr(data, split)) for split in SPLITS if len(getattr(data, split))}
    correct: dict[tuple[int, str, str], Floats] = {}
    adapted = {}
    for rank, model in sorted(complete.items()):
        # With one direction, all users have the same weights.
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
    """Return which comparisons of one split are predicted correctly, with own weights and with each control."""
    weights, projected = weights_of(model, pairs.user_ids), project(pairs, model.basis)
    found = {OWN: is_correct(pairs, projected, weights)}
    if model.requested_rank > 1:
        found[POPULATION] = is_correct(pairs, projected, model.population_weights)
        if pairs.n_users > 1:
            found[OTHERS] = correct_with_others(pairs, projected, weights, seed)
    return found


def sample_of(pairs: PackedPairs, data: EmbeddedPreferences) -> Sample:
    """Return user, prompt and share of each comparison in `pairs`, the packed form of `data`."""
    import pyarrow as pa  # its hash table is faster than sorting

    prompts = pa.array([str(prompt) for prompt in data.prompt_ids], pa.string()).dictionary_encode()
    user, count = pairs.user.numpy(), pairs.count.numpy()
    share = count / np.bincount(user, weights=count)[user]
    return Sample(user, prompts.indices.to_numpy().astype(np.int64)[pairs.order], share)


def weights_of(model: LowRankRewardModel, user_ids: Sequence[str]) -> torch.Tensor:
    """Return the weights [M, K] of M users; a user that the model does not know has the population weights."""
    index = {user: i for i, user in enumerate(model.user_ids)}
    rows = torch.cat([model.weights, model.population_weights[None]])
    return rows[torch.tensor([index.get(user, -1) for user in user_ids])]  # -1: the last row


def project(pairs: PackedPairs, basis: torch.Tensor) -> torch.Tensor:
    """Return [n, K]: the reward of the chosen minus the rejected response along each column of a basis [D, K]."""
    return pairs.project(basis.t().contiguous())


def is_correct(pairs: PackedPairs, projected: torch.Tensor, weights: torch.Tensor) -> Floats:
    """Return float64 [n]: 1 for each comparison with a positive reward difference, 0.5 for a difference of 0, else 0.

    `projected` [n, K] is the result of `project`. `weights` are [M, K], one row per user in the order of
    `pairs.user_ids`, or [K], the same for every user.
    """
    margin = projected @ weights if weights.ndim == 1 else (projected * weights[pairs.user]).sum(dim=1)
    return torch.where(margin == 0, _TIE, (margin > 0).double()).numpy()


def correct_with_others(pairs: PackedPairs, projected: torch.Tensor, weights: torch.Tensor, seed: int) -> Floats:
    """Return the mean of `is_correct` over random exchanges that give each of two or more users another's weights."""
    rng = np.random.Generator(np.random.PCG64(seed))
    total = np.zeros(len(pairs))
    for _ in range(_EXCHANGES):
        # The users form a random ring, and each takes the weights of the previous one: no user keeps their own.
        ring = rng.permutation(len(weights))
        donor = np.empty(len(weights), dtype=np.int64)
        donor[ring] = np.roll(ring, 1)
        total += is_correct(pairs, projected, weights[torch.from_numpy(donor)])
    return total / _EXCHANGES
