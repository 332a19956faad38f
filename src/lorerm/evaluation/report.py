"""Dataclasses of the evaluation report. They define the schema of `report.json`, see `docs/report-json.md`.

Accuracies are shares from 0 to 1, and a difference is one share minus another. Means are over users. A field without a
value is None. If a field has another name in JSON, `named` sets that name. Every value computed from a report is a
property or method here, so that the Markdown report, the HTML report and the terminal show the same values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lorerm.data.schema import SPLITS, TEST_SPLITS
from lorerm.data.splits import SplitSize
from lorerm.data.weights import count_as_little
from lorerm.embedding.encoder import EncoderIdentity
from lorerm.errors import DataError
from lorerm.evaluation.json_records import from_json, inlined, named, to_json

SCHEMA_VERSION = 1

UNSEEN_FIRST = TEST_SPLITS[::-1]
"""The splits with test prompts, in the order of a report: first the unseen users (those held out of training)."""

# A gain closer to 0 than this is a rounding error and counts as 0. A gain is the difference between two means of scores
# of comparisons (0 wrong, 1/2 tie, 1 right), so that a gain other than 0 is much larger than this.
_ROUNDING_ERROR = 1e-5


def focus_rank(chosen_rank: int, fitted_ranks: Mapping[int, int | None]) -> int:
    """Return the focus rank: the one whose controls, differences, gains and axes a report shows.

    Return the chosen rank if it is personal (2 or more), or if no rank is personal. Otherwise return the largest
    personal rank, to show what personal weights would have changed. A personal rank for which training kept only one
    direction is returned only if this is so for every personal rank.

    Parameters
    ----------
    chosen_rank
        The rank that validation chose.
    fitted_ranks
        The number of directions that training kept, by rank; None if it is not recorded.
    """
    personal = [rank for rank in fitted_ranks if rank > 1]
    if chosen_rank > 1 or not personal:
        return chosen_rank
    return max(personal, key=lambda rank: (fitted_ranks[rank] != 1, rank))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Mean over users of an accuracy, or of a difference between two accuracies of the same user."""

    mean: float
    """mean over users; every user counts once"""
    stderr: float | None
    """standard error over users: standard deviation divided by the square root of `n_users`; None for one user"""
    stderr_two_way: float | None = None
    """standard error over users and prompts: at least `stderr`, and equal to it if no two users share a prompt"""
    std: float | None = None
    """standard deviation over users; None for one user"""
    ci95: tuple[float, float] | None
    """95% interval of the mean by Student's t, from `stderr_two_way`, within the possible values; None for one user"""
    n_users: int
    n_comparisons: int | None = field(default=None, metadata=named("n_pairs"))
    n_prompts: int | None = None
    n_ties: int | None = None
    """number of comparisons that count one half, because both responses have the same reward; None for a difference,
    and for a mean over several predictions of the same comparison"""

    @property
    def standard_error(self) -> float | None:
        """The standard error over users and prompts, or over users only if the report has no other."""
        return self.stderr if self.stderr_two_way is None else self.stderr_two_way

    @property
    def is_gain(self) -> bool:
        """Whether the whole 95% interval is above 0."""
        return self.ci95 is not None and self.ci95[0] > 0

    @property
    def is_loss(self) -> bool:
        """Whether the whole 95% interval is below 0."""
        return self.ci95 is not None and self.ci95[1] < 0

    @property
    def is_same(self) -> bool:
        """Whether the difference is exactly 0 for every user, because both models predict the same responses."""
        return self.ci95 == (0.0, 0.0)

    @property
    def is_clear(self) -> bool:
        """Whether there is a 95% interval and it does not contain 0; otherwise there are too few users to tell."""
        return self.is_gain or self.is_loss


class _HasAccuracies:
    """Base class of records that have an accuracy on each split."""

    accuracies: Mapping[str, Estimate | None] | None

    def accuracy(self, split: str) -> Estimate | None:
        """Return the accuracy on one split, or None if there is none."""
        return (self.accuracies or {}).get(split)


@dataclass(frozen=True, kw_only=True)
class Leaks:
    """Results of the leak check: how well scorers that read no words predict the preferred response."""

    longer_chosen: float
    """share of comparisons whose chosen response is the longer one"""
    length_accuracy: float
    """accuracy of a scorer that uses only the lengths of the two responses"""
    length_noise: float | None = None
    """standard error of `length_accuracy`"""
    format_accuracy: float
    """accuracy of a scorer that uses only format: brackets, quotes, markup, newlines, number of messages"""
    format_noise: float | None = None
    """standard error of `format_accuracy`"""
    n_comparisons: int = field(metadata=named("n_pairs"))
    """number of comparisons checked"""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """Source and size of the evaluated data, and what the checks found."""

    source: str | None = None
    """name of the data set, or path of the file"""
    n_users: int
    n_seen_users: int
    n_unseen_users: int
    n_comparisons: int = field(metadata=named("n_pairs"))
    n_prompts: int
    n_responses: int
    """number of distinct conversations (prompt and response)"""
    dimension: int
    """dimension of an embedding"""
    encoder: EncoderIdentity | None = None
    n_same: int | None = None
    """number of comparisons whose two responses have the same embedding; None in reports of earlier versions"""
    total_weight: float | None = None
    """sum of the weights of the comparisons, which is the number of comparisons that they count as; None in reports of
    earlier versions"""
    leaks: Leaks | None = None
    warnings: tuple[str, ...] = ()
    """one sentence for each problem found, for example rows left out; a sentence may name users"""
    splits: Mapping[str, SplitSize] = field(default_factory=dict, metadata=named("cells"))


@dataclass(frozen=True)
class Settings:
    """Settings of training, adaptation and the split: each maps the name of a setting to its value."""

    training: Mapping[str, object] = field(default_factory=dict)
    adaptation: Mapping[str, object] = field(default_factory=dict)
    split: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """Loss and accuracy of one rank on the validation comparisons."""

    validation_loss: float
    validation_accuracy: float
    chosen: Mapping[str, object] = field(default_factory=dict, metadata=inlined())
    """values that validation chose for further settings of this rank"""


@dataclass(frozen=True, kw_only=True)
class RankRow(_HasAccuracies):
    """Accuracy of one rank on the four splits."""

    rank: int
    """0: the encoder's own reward head (reference head); 1: one direction for all users (single Bradley-Terry model); 2
    or more: personal weights on that many directions"""
    fitted_rank: int | None = None
    """number of directions that training kept"""
    available: bool
    """False if the rank could not be evaluated"""
    reason: str | None = None
    """why the rank could not be evaluated"""
    selection: Selection | None = None
    """loss and accuracy on validation comparisons; None if training had no validation comparisons"""
    accuracies: Mapping[str, Estimate | None] | None = field(default=None, metadata=named("cells"))
    """by split; None for an empty split"""


@dataclass(frozen=True)
class Control(_HasAccuracies):
    """Accuracy of one rank if every user is given weights that are not their own."""

    name: str
    """`shared_direction`: every user gets the population weights (those of a user without comparisons);
    `other_users_weights`: every user gets another user's weights"""
    label: str
    """`name` in words"""
    rank: int
    accuracies: Mapping[str, Estimate | None] = field(metadata=named("cells"))
    """by split; None for an empty split"""


@dataclass(frozen=True)
class Difference:
    """Accuracy of a rank minus the accuracy of a baseline on the same comparisons."""

    rank: int
    against: str
    """the baseline: `shared_direction`, `bradley_terry`, `reference_head` or `other_users_weights`"""
    split: str = field(metadata=named("cell"))
    estimate: Estimate = field(metadata=inlined())


@dataclass(frozen=True)
class UserGain:
    """Gain of one test user: accuracy with their own weights minus accuracy with the population weights."""

    user_id: str
    split: str = field(metadata=named("cell"))
    n_fitted: int = field(metadata=named("n_answers"))
    """number of comparisons that the user's weights were fitted to"""
    n_test: int = field(metadata=named("n_pairs"))
    """number of the user's comparisons on test prompts"""
    gain: float
    ci95: tuple[float, float]
    """95% interval of the gain: Agresti and Min's interval for paired proportions"""
    position: tuple[float, float] | None = field(default=None, metadata=named("place"))
    """coordinates on the two leading personal axes; None if the model has fewer than two"""

    @property
    def gains(self) -> bool:
        """Whether the user's own weights are more accurate than the population weights."""
        return self.gain > _ROUNDING_ERROR

    @property
    def loses(self) -> bool:
        """Whether the user's own weights are less accurate than the population weights."""
        return self.gain < -_ROUNDING_ERROR

    @property
    def is_loss(self) -> bool:
        """Whether the whole 95% interval is below 0."""
        return self.ci95[1] < 0


class GainDistribution(NamedTuple):
    """Summary of the gains of a split's users."""

    n_users: int
    mean: float
    quartiles: tuple[float, float, float]
    """lower quartile, median and upper quartile, with linear interpolation"""
    lose: float
    """share of users whose gain is negative"""
    same: float
    """share of users whose gain is 0"""
    gain: float
    """share of users whose gain is positive"""


@dataclass(frozen=True)
class Gains:
    """Gain of each test user at the focus rank: own weights compared with the population weights."""

    rank: int
    against: str
    test_seen: tuple[float, ...]
    test_unseen: tuple[float, ...]
    users: tuple[UserGain, ...] = ()
    """the same gains with user IDs and intervals; empty in reports written by earlier versions"""

    @property
    def by_split(self) -> dict[str, tuple[float, ...]]:
        """The gains by split, unseen users first; splits without users are left out."""
        return {name: gains for name in UNSEEN_FIRST if (gains := getattr(self, name))}

    @property
    def users_by_split(self) -> dict[str, list[UserGain]]:
        """The users by split, unseen users first; splits without users are left out."""
        found = {name: [user for user in self.users if user.split == name] for name in UNSEEN_FIRST}
        return {name: users for name, users in found.items() if users}

    @property
    def losing(self) -> list[UserGain]:
        """The users with a negative gain, the largest loss first."""
        return sorted((user for user in self.users if user.loses), key=lambda user: user.gain)

    @property
    def n_expected_losses(self) -> float:
        """Expected number of users whose 95% interval is below 0 by chance, if the true gain of every user is 0."""
        return 0.025 * len(self.users)

    def by_n_fitted(self, split: str, n_groups: int) -> list[tuple[float, float]]:
        """Group a split's users by `n_fitted`, and return (mean `n_fitted`, mean gain) of each group.

        There are at most `n_groups` groups of nearly equal size, each with at least 4 users; a split with fewer than 4
        users has no groups. Groups with the same mean `n_fitted` are merged.
        """
        ordered = sorted(self.users_by_split[split], key=lambda user: user.n_fitted)
        n_groups = min(n_groups, len(ordered) // 4)
        groups = [ordered[k * len(ordered) // n_groups : (k + 1) * len(ordered) // n_groups] for k in range(n_groups)]
        gains: dict[float, list[float]] = {}
        for group in groups:
            mean = sum(user.n_fitted for user in group) / len(group)
            gains.setdefault(mean, []).extend(user.gain for user in group)
        return [(mean, sum(found) / len(found)) for mean, found in gains.items()]

    def distribution(self, split: str) -> GainDistribution:
        """Summarise the gains of one split, which must have users."""
        gains = self.by_split[split]
        n = len(gains)
        # With the sign -1 the sum counts the losses, with 1 the gains.
        lose, gain = (sum(sign * value > _ROUNDING_ERROR for value in gains) / n for sign in (-1, 1))
        low, middle, high = np.quantile(gains, (0.25, 0.5, 0.75)).tolist()
        return GainDistribution(n, sum(gains) / n, (low, middle, high), lose, 1 - lose - gain, gain)


@dataclass(frozen=True)
class ComparisonAgreement:
    """How often two users who compared the same two responses preferred the same one."""

    share: float
    n_compared: int
    """number of pairs of comparisons in which two users compared the same two responses"""
    n_response_pairs: int
    """number of pairs of responses that at least two users compared"""


@dataclass(frozen=True)
class ModelAgreement:
    """How often two users' weights prefer the same response, averaged over test comparisons and pairs of users."""

    rank: int
    share: float
    n_users: int


@dataclass(frozen=True)
class Agreement:
    """Agreement between users, in their comparisons and in the predictions of their weights; None if unknown."""

    comparisons: ComparisonAgreement | None = field(default=None, metadata=named("choices"))
    models: ModelAgreement | None = None


@dataclass(frozen=True)
class Published:
    """The eight result arrays that the code of the paper (arXiv 2504.14439) writes, with its names and order."""

    alphas: tuple[float | None, ...] = field(metadata=named("alpha_list"))
    ranks: tuple[int, ...] = field(metadata=named("K_list"))
    arrays: Mapping[str, tuple[float | None, ...]] = field(metadata=inlined())
    """four arrays of means, then four of "std"; each array has one entry per rank"""


@dataclass(frozen=True)
class FewShotPoint:
    """Accuracy of the unseen users if their weights are fitted to their first `n_shots` comparisons."""

    n_shots: int = field(metadata=named("shots"))
    n_users_with: int
    """number of users with at least `n_shots` comparisons; for every other user, all comparisons are used"""
    accuracy: Estimate = field(metadata=inlined())
    trials_std: float
    """standard deviation of the accuracy over random orders of the comparisons, as published (arXiv 2504.14439)"""
    gain: Estimate
    """accuracy minus the accuracy of the same users without few-shot comparisons"""


@dataclass(frozen=True)
class FewShotUser:
    """The few-shot curve of one user."""

    user_id: str
    n_fitted: int = field(metadata=named("n_answers"))
    """number of the user's few-shot comparisons"""
    n_test: int = field(metadata=named("n_pairs"))
    """number of the user's comparisons on test prompts"""
    accuracy: tuple[float, ...]
    """accuracy at each point of the curve"""


@dataclass(frozen=True)
class FewShotCurve:
    """Accuracy of the unseen users against the number of their few-shot comparisons."""

    rank: int
    trials: int
    """number of random orders of each user's comparisons"""
    n_users: int
    points: tuple[FewShotPoint, ...]
    clear_from: int | None
    """smallest `n_shots` from which on the whole 95% interval of the gain is above 0; values that no user reaches are
    ignored"""
    examples: tuple[FewShotUser, ...]
    """curves of a few users"""


@dataclass(frozen=True)
class SeedSpread:
    """Mean and spread over seeds of an accuracy or of a difference."""

    mean: float
    std_seeds: float | None
    """standard deviation over seeds; None for one seed"""
    stderr_seeds: float | None
    """standard error over seeds; None for one seed"""
    stderr_within: float | None
    """standard error over users and prompts within one seed: root mean square of the seeds' `stderr_two_way`"""
    std_fit: float | None
    """spread that training alone explains: sqrt(std_seeds^2 - stderr_within^2), or 0 if the difference is negative"""
    n_seeds: int


@dataclass(frozen=True)
class SeedRow:
    """Accuracies of a rank over seeds."""

    rank: int | str
    """a rank, or `choice`: for each seed, the rank that its own validation chose"""
    accuracies: Mapping[str, SeedSpread | None] = field(metadata=named("cells"))
    """by split; None if a seed has no accuracy on the split"""


@dataclass(frozen=True)
class SeedDifference:
    """Accuracy of a rank minus the accuracy of a baseline, over seeds."""

    rank: int | str
    """a rank, or `choice`: for each seed, the rank that its own validation chose"""
    against: str
    split: str = field(metadata=named("cell"))
    spread: SeedSpread = field(metadata=inlined())


@dataclass(frozen=True)
class SeedStudy:
    """Results of training and evaluation repeated with several seeds."""

    seeds: tuple[int, ...]
    chosen_ranks: tuple[int, ...]
    """for each seed, the rank that its own validation chose"""
    ranks: tuple[SeedRow, ...]
    differences: tuple[SeedDifference, ...]


@dataclass(frozen=True)
class TextProperty:
    """Correlation, over comparisons, of the rewards along an axis with a measured property of the texts."""

    name: str
    correlation: float


@dataclass(frozen=True)
class Stability:
    """Correlation of the rewards along an axis with those along the matching axis of models from other seeds."""

    mean: float
    lowest: float
    n_seeds: int


@dataclass(frozen=True)
class Axis:
    """One axis of a model, described by properties of texts and by the responses with extreme rewards.

    `properties`, `highest` and `lowest` are None if the texts of the embeddings are unknown.
    """

    name: str
    share: float | None
    """share of the variance between users' rewards, or the mean weight if weights are on the simplex; None for the
    shared direction"""
    properties: tuple[TextProperty, ...] | None
    """strongest correlation first"""
    highest: tuple[str, ...] | None
    """responses with the highest rewards; long ones are cut"""
    lowest: tuple[str, ...] | None
    """responses with the lowest rewards; long ones are cut"""
    reference_cosine: float | None
    """cosine with the reference head (the encoder's own reward head)"""
    stability: Stability | None
    """None if no models were trained with other seeds"""


@dataclass(frozen=True)
class Axes:
    """The axes of the focus rank: the shared direction, then those along which users differ most."""

    rank: int
    directions: tuple[Axis, ...]


class _RankResults:
    """Base class of results with rows of ranks, differences and a chosen rank."""

    ranks: tuple[RankRow, ...]
    differences: tuple[Difference, ...]
    chosen_rank: int

    @property
    def available_ranks(self) -> list[int]:
        """The ranks that were evaluated, in ascending order."""
        return [row.rank for row in self.ranks if row.available]

    def row(self, rank: int) -> RankRow | None:
        """Return the row of one rank, or None if there is none."""
        return next((row for row in self.ranks if row.rank == rank), None)

    def accuracy(self, rank: int, split: str) -> Estimate | None:
        """Return the accuracy of one rank on one split, or None if there is none."""
        row = self.row(rank)
        return None if row is None else row.accuracy(split)

    def differences_of(self, rank: int) -> list[Difference]:
        """Return the differences between one rank and its baselines."""
        return [row for row in self.differences if row.rank == rank]

    def difference(self, rank: int, against: str, split: str) -> Difference | None:
        """Return the difference between a rank and a baseline on one split, or None if there is none."""
        return next((r for r in self.differences_of(rank) if (r.against, r.split) == (against, split)), None)


@dataclass(frozen=True)
class SeedEvaluation(_RankResults):
    """The results that a run stores for every seed after the first."""

    ranks: tuple[RankRow, ...]
    differences: tuple[Difference, ...]
    chosen_rank: int


@dataclass(frozen=True, kw_only=True)
class Report(_RankResults):
    """The results of an evaluation. Raises `DataError` if the chosen rank is not among the ranks."""

    schema_version: int
    lorerm_version: str | None = None
    """version of lorerm that wrote the report"""
    data: DataSummary
    settings: Settings = field(default_factory=Settings, metadata=named("config"))
    ranks: tuple[RankRow, ...]
    """in ascending order"""
    controls: tuple[Control, ...] = ()
    """accuracies of each rank from 2 on with weights that are not the user's own"""
    chosen_rank: int
    """the rank that validation chose"""
    differences: tuple[Difference, ...] = ()
    gains: Gains | None = None
    agreement: Agreement = field(default_factory=Agreement)
    published: Published | None = None
    few_shot: FewShotCurve | None = field(default=None, metadata=named("shots"))
    seeds: SeedStudy | None = None
    axes: Axes | None = None

    def __post_init__(self) -> None:
        if self.row(self.chosen_rank) is None:
            raise DataError(
                f"the chosen rank {self.chosen_rank!r} is not among the ranks of the report",
                "set chosen_rank to a rank in the list `ranks`",
            )

    def __repr__(self) -> str:
        """Return only the ranks: the whole report is long and contains user IDs."""
        return f"{type(self).__name__}(ranks={self.available_ranks}, chosen_rank={self.chosen_rank})"

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Report:
        """Read a report from its JSON object.

        Raises
        ------
        DataError
            The schema version is not supported, or a field is missing, has a wrong type, or is NaN or infinite.
        """
        version = content.get("schema_version", SCHEMA_VERSION)
        if version != SCHEMA_VERSION:
            raise DataError(
                f"the report has schema version {version!r}; this version of lorerm reads version {SCHEMA_VERSION}",
                "write the report again with this version of lorerm",
            )
        return from_json(cls, content, "report")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON object.

        Raises
        ------
        DataError
            A number is NaN or infinite.
        """
        return to_json(self, "report")

    @property
    def focus_rank(self) -> int:
        """The rank whose controls, differences, gains and axes the report shows, see the function `focus_rank`."""
        return focus_rank(self.chosen_rank, {row.rank: row.fitted_rank for row in self.ranks if row.available})

    @property
    def was_validated(self) -> bool:
        """Whether the rank was chosen on validation comparisons; False if too few comparisons could be held out."""
        row = self.row(self.chosen_rank)
        return row is not None and row.selection is not None

    @property
    def filled_splits(self) -> list[str]:
        """The splits on which at least one rank has an accuracy."""
        return [name for name in SPLITS if any(row.accuracy(name) is not None for row in self.ranks)]

    def controls_of(self, rank: int) -> list[Control]:
        """Return the controls of one rank."""
        return [control for control in self.controls if control.rank == rank]

    def control(self, rank: int, name: str) -> Control | None:
        """Return one control of one rank, or None if there is none."""
        return next((control for control in self.controls_of(rank) if control.name == name), None)

    @property
    def below_half(self) -> list[tuple[RankRow, str]]:
        """The models and splits with an accuracy below one half on comparisons that the model was fitted to."""
        # Split to which models are fitted -> the smallest rank of these models.
        fitted = {"train_seen": 1, "train_unseen": 2}
        return [
            (row, split)
            for row, split, found in self._all_accuracies()
            if row.rank >= fitted.get(split, np.inf) and found.mean < 0.5 - _ROUNDING_ERROR
        ]

    @property
    def always_wrong(self) -> list[tuple[RankRow, str]]:
        """The models and splits with an accuracy of exactly 0."""
        return [(row, split) for row, split, found in self._all_accuracies() if found.mean < _ROUNDING_ERROR]

    @property
    def always_right(self) -> list[tuple[RankRow, str]]:
        """The models and splits with an accuracy of exactly 1."""
        return [(row, split) for row, split, found in self._all_accuracies() if found.mean > 1 - _ROUNDING_ERROR]

    def _all_accuracies(self) -> list[tuple[RankRow, str, Estimate]]:
        found = [(row, split, row.accuracy(split)) for row in self.ranks for split in SPLITS]
        return [(row, split, accuracy) for row, split, accuracy in found if accuracy is not None]

    @property
    def looks_the_same(self) -> bool:
        """Whether the two responses have the same embedding in at least a tenth of the comparisons."""
        return self.data.n_same is not None and self.data.n_same >= 0.1 * self.data.n_comparisons

    @property
    def counts_as_little(self) -> bool:
        """Whether the weights of all comparisons are so small that they count as next to no feedback."""
        data = self.data
        return data.total_weight is not None and count_as_little(data.total_weight, data.n_comparisons, data.n_users)

    def can_show(self, split: str, gain: float) -> bool:
        """Return whether the comparisons of a split are enough to tell this gain from chance.

        The test assumes that personal weights change a tenth of the predictions, and that comparisons are independent.
        The gain then has to exceed two standard errors, 2 sqrt(0.1 / n).
        """
        size = self.data.splits.get(split)
        return size is None or 2 * (0.1 / max(size.n_pairs, 1)) ** 0.5 <= gain

    @property
    def main_difference(self) -> Difference | None:
        """The difference that shows whether personal weights help, or None if there is none.

        If validation chose rank 0 or 1, the focus rank is compared with the chosen rank. Otherwise, or if no rank was
        validated, it is compared with its own population model. The difference is measured on the unseen users, or on
        the seen users if there are no unseen users.
        """
        against = ("reference_head", "bradley_terry", "shared_direction")[min(self.chosen_rank, 2)]
        if not self.was_validated:
            against = "shared_direction"
        found = (self.difference(self.focus_rank, against, split) for split in UNSEEN_FIRST)
        return next((difference for difference in found if difference is not None), None)

    def baseline_accuracy(self, difference: Difference) -> Estimate | None:
        """Return the accuracy of the baseline of a difference on the same split, or None if there is none."""
        ranks = {"reference_head": 0, "bradley_terry": 1}
        if difference.against in ranks:
            return self.accuracy(ranks[difference.against], difference.split)
        control = self.control(difference.rank, difference.against)
        return None if control is None else control.accuracy(difference.split)

    @property
    def clear_from(self) -> int | None:
        """Number of few-shot comparisons from which on the main difference is a gain, or None if unknown."""
        main, curve = self.main_difference, self.few_shot
        if main is None or curve is None or (main.against, main.split) != ("shared_direction", "test_unseen"):
            return None
        return curve.clear_from if curve.rank == main.rank else None


@dataclass(frozen=True)
class ComparedRun(_HasAccuracies):
    """One of the runs in a comparison: its data, encoder and recipe, and the accuracies at its chosen rank."""

    name: str
    source: str | None
    encoder: str | None
    """name of the encoder's model"""
    recipe: str | None
    chosen_rank: int
    accuracies: Mapping[str, Estimate | None] | None = field(metadata=named("cells"))
    """by split; None for an empty split"""


@dataclass(frozen=True)
class RunDifference:
    """Accuracy of a run minus that of the first run, on the users and prompts that both have in a split."""

    run: str
    against: str
    split: str = field(metadata=named("cell"))
    estimate: Estimate = field(metadata=inlined())


@dataclass(frozen=True)
class RunComparison:
    """Results of several runs, and the differences between each later run and the first."""

    runs: tuple[ComparedRun, ...]
    paired: tuple[RunDifference, ...]
    """one entry per later run and test split, if the run shares at least two users with the first on that split"""

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a JSON object."""
        return to_json(self, "comparison")
