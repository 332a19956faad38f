"""The evaluation report as dataclasses, which are the schema of `report.json`; `docs/report-json.md` documents it.

Accuracies and their differences are shares from 0 to 1, and means are over users. A field without a value is None. A
field whose key in JSON has another name carries that name in its metadata. Everything that is computed from a report
is a property or method here, so that the Markdown, the page and the terminal show the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lorerm.data.schema import SPLITS, TEST_SPLITS
from lorerm.data.splits import SplitSize
from lorerm.embedding.encoder import EncoderIdentity
from lorerm.errors import DataError
from lorerm.evaluation.json_records import from_json, inlined, named, to_json

SCHEMA_VERSION = 1

UNSEEN_FIRST = TEST_SPLITS[::-1]
"""The splits with test prompts in the order of a report: what new users gain comes first."""

# A user's gain is the difference of two means of 0 and 1: what is smaller than this is a rounding error.
_ROUNDING_ERROR = 1e-5


def focus_rank(chosen_rank: int, fitted_ranks: Mapping[int, int | None]) -> int:
    """Return the rank whose controls, differences, gains and axes a report shows.

    It is the chosen rank if that one is personal (2 or more), or if no rank is. Otherwise it is the largest personal
    rank, to show what personal weights would have changed; ranks with more than one fitted direction come first.

    Parameters
    ----------
    chosen_rank
        The rank that validation chose.
    fitted_ranks
        By rank, the number of directions that training kept; None where it is not recorded.
    """
    personal = [rank for rank in fitted_ranks if rank > 1]
    if chosen_rank > 1 or not personal:
        return chosen_rank
    return max(personal, key=lambda rank: (fitted_ranks[rank] != 1, rank))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Mean over users of an accuracy, or of the difference of two accuracies of the same users."""

    mean: float
    """over users, each counting once"""
    stderr: float | None
    """standard error over users: their standard deviation divided by the root of their number; None for one user"""
    stderr_two_way: float | None = None
    """standard error over users and prompts: at least `stderr`, equal to it where no prompt has two users"""
    std: float | None = None
    """standard deviation over users; None for one user"""
    ci95: tuple[float, float] | None
    """95% interval of the mean by Student's t, from `stderr_two_way`; None for one user"""
    n_users: int
    n_comparisons: int | None = field(default=None, metadata=named("n_pairs"))
    n_prompts: int | None = None

    @property
    def standard_error(self) -> float | None:
        """The standard error over users and prompts; that over users in reports that have no other."""
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
        """Whether the difference is exactly 0 for every user, as between models that rank all comparisons alike."""
        return self.ci95 == (0.0, 0.0)

    @property
    def is_clear(self) -> bool:
        """Whether there is a 95% interval that does not contain 0; if not, there are too few users to tell."""
        return self.is_gain or self.is_loss


class _HasAccuracies:
    """Common methods of what has an accuracy on each split."""

    accuracies: Mapping[str, Estimate | None] | None

    def accuracy(self, split: str) -> Estimate | None:
        """Return the accuracy on one split, None where there is none."""
        return (self.accuracies or {}).get(split)


@dataclass(frozen=True, kw_only=True)
class Leaks:
    """The leak check: how well scorers that read no words predict the comparisons."""

    longer_chosen: float
    """share of comparisons whose chosen response is the longer one"""
    length_accuracy: float
    """accuracy of a scorer of the two lengths"""
    length_noise: float | None = None
    """its standard error"""
    format_accuracy: float
    """accuracy of a scorer of the rendered format"""
    format_noise: float | None = None
    """its standard error"""
    n_comparisons: int = field(metadata=named("n_pairs"))
    """comparisons checked"""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """The data behind the figures."""

    source: str | None = None
    """data set or file"""
    n_users: int
    n_seen_users: int
    n_unseen_users: int
    n_comparisons: int = field(metadata=named("n_pairs"))
    n_prompts: int
    n_responses: int
    """distinct conversations"""
    dimension: int
    """of an embedding"""
    encoder: EncoderIdentity | None = None
    leaks: Leaks | None = None
    warnings: tuple[str, ...] = ()
    """what was left out or looks wrong; they may name users"""
    splits: Mapping[str, SplitSize] = field(default_factory=dict, metadata=named("cells"))


@dataclass(frozen=True)
class Settings:
    """Settings of training, adaptation and split, each by the names of their fields."""

    training: Mapping[str, object] = field(default_factory=dict)
    adaptation: Mapping[str, object] = field(default_factory=dict)
    split: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """Loss and accuracy of one rank on the validation comparisons, by which validation chose a rank."""

    validation_loss: float
    validation_accuracy: float
    chosen: Mapping[str, object] = field(default_factory=dict, metadata=inlined())
    """settings that validation chose for the rank"""


@dataclass(frozen=True, kw_only=True)
class RankRow(_HasAccuracies):
    """Accuracy of one rank on the four splits."""

    rank: int
    """0 is the reference head, 1 the single Bradley-Terry model, from 2 on LoRe"""
    fitted_rank: int | None = None
    """number of directions that training kept"""
    available: bool
    """False where the rank could not be evaluated"""
    reason: str | None = None
    """why it is not available"""
    selection: Selection | None = None
    """None without validation"""
    accuracies: Mapping[str, Estimate | None] | None = field(default=None, metadata=named("cells"))
    """by split; None where a split is empty"""


@dataclass(frozen=True)
class Control(_HasAccuracies):
    """Accuracy of one rank's directions with weights that are not the users' own."""

    name: str
    """`shared_direction`: the population weights for every user; `other_users_weights`: another user's weights"""
    label: str
    """the name in words"""
    rank: int
    accuracies: Mapping[str, Estimate | None] = field(metadata=named("cells"))
    """by split; None where a split is empty"""


@dataclass(frozen=True)
class Difference:
    """Accuracy of a rank minus that of a baseline, paired within comparisons."""

    rank: int
    against: str
    """`shared_direction`, `bradley_terry`, `reference_head` or `other_users_weights`"""
    split: str = field(metadata=named("cell"))
    estimate: Estimate = field(metadata=inlined())


@dataclass(frozen=True)
class UserGain:
    """Gain in accuracy of one test user: that with their own weights minus that with the population weights."""

    user_id: str
    split: str = field(metadata=named("cell"))
    n_fitted: int = field(metadata=named("n_answers"))
    """comparisons that the user's weights were fitted to"""
    n_test: int = field(metadata=named("n_pairs"))
    """comparisons on test prompts"""
    gain: float
    ci95: tuple[float, float]
    """by Agresti and Min's interval for paired shares"""
    position: tuple[float, float] | None = field(default=None, metadata=named("place"))
    """coordinates on the two leading personal axes, None where there are not two"""

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
    """Distribution over users of their gains."""

    n_users: int
    mean: float
    quartiles: tuple[float, float, float]
    """lower quartile, median and upper quartile, linear between neighbours"""
    lose: float
    """share of users with a loss"""
    same: float
    """share of users without a difference"""
    gain: float
    """share of users with a gain"""


@dataclass(frozen=True)
class Gains:
    """Gains of the test users from their own weights over the population weights, at the focus rank."""

    rank: int
    against: str
    test_seen: tuple[float, ...]
    test_unseen: tuple[float, ...]
    users: tuple[UserGain, ...] = ()
    """the same gains, each with its user; empty in reports of earlier versions"""

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
        """The users who lose, the largest loss first."""
        return sorted((user for user in self.users if user.loses), key=lambda user: user.gain)

    @property
    def n_expected_losses(self) -> float:
        """Number of users whose 95% interval is below 0 by chance, if no user gained or lost."""
        return 0.025 * len(self.users)

    def by_n_fitted(self, split: str, n_groups: int) -> list[tuple[float, float]]:
        """Return (mean number of fitted comparisons, mean gain) of equally large groups of a split's users.

        Users are grouped by the number of comparisons that their weights were fitted to; a group has at least 4 users.
        Groups with the same mean number are one.
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
        """Return mean, quartiles and shares of the gains of a split that has users."""
        gains = self.by_split[split]
        n = len(gains)
        lose, gain = (sum(sign * value > _ROUNDING_ERROR for value in gains) / n for sign in (-1, 1))
        low, middle, high = np.quantile(gains, (0.25, 0.5, 0.75)).tolist()
        return GainDistribution(n, sum(gains) / n, (low, middle, high), lose, 1 - lose - gain, gain)


@dataclass(frozen=True)
class ComparisonAgreement:
    """How often two users who compared the same two responses preferred the same one."""

    share: float
    n_compared: int
    """pairs of users and comparisons"""
    n_response_pairs: int


@dataclass(frozen=True)
class ModelAgreement:
    """How often the weights of two users prefer the same response: mean over test comparisons and pairs of users."""

    rank: int
    share: float
    n_users: int


@dataclass(frozen=True)
class Agreement:
    """Agreement between users, in their comparisons and by their weights; None where it is not known."""

    comparisons: ComparisonAgreement | None = field(default=None, metadata=named("choices"))
    models: ModelAgreement | None = None


@dataclass(frozen=True)
class Published:
    """The eight arrays of the published code, under its names and in its order."""

    alphas: tuple[float | None, ...] = field(metadata=named("alpha_list"))
    ranks: tuple[int, ...] = field(metadata=named("K_list"))
    arrays: Mapping[str, tuple[float | None, ...]] = field(metadata=inlined())
    """one entry per rank: four means, then four "std" """


@dataclass(frozen=True)
class FewShotPoint:
    """Accuracy of the unseen users when adapted to their first n_shots comparisons."""

    n_shots: int = field(metadata=named("shots"))
    n_users_with: int
    """users with as many comparisons; the others give all they have"""
    accuracy: Estimate = field(metadata=inlined())
    trials_std: float
    """standard deviation of the accuracy over orders of the comparisons, as published"""
    gain: Estimate
    """paired difference to the accuracy without comparisons"""


@dataclass(frozen=True)
class FewShotUser:
    """The few-shot curve of one user."""

    user_id: str
    n_fitted: int = field(metadata=named("n_answers"))
    """few-shot comparisons"""
    n_test: int = field(metadata=named("n_pairs"))
    """comparisons on test prompts"""
    accuracy: tuple[float, ...]
    """at each point of the curve"""


@dataclass(frozen=True)
class FewShotCurve:
    """Accuracy of the unseen users against the number of their few-shot comparisons."""

    rank: int
    trials: int
    """random orders of each user's comparisons"""
    n_users: int
    points: tuple[FewShotPoint, ...]
    clear_from: int | None
    """smallest n_shots from which on the gain's interval is above 0, of those that some user reaches"""
    examples: tuple[FewShotUser, ...]


@dataclass(frozen=True)
class SeedSpread:
    """Mean of a figure over seeds, and its spread."""

    mean: float
    std_seeds: float | None
    """standard deviation over seeds; None for one seed"""
    stderr_seeds: float | None
    """standard error over seeds; None for one seed"""
    stderr_within: float | None
    """standard error over users and prompts within one seed: root of the mean square of `stderr_two_way`"""
    std_fit: float | None
    """root of the square of `std_seeds` minus that of `stderr_within`; 0 where the latter is larger"""
    n_seeds: int


@dataclass(frozen=True)
class SeedRow:
    """Accuracies of a rank over seeds."""

    rank: int | str
    """`choice` is the rank that each seed's own validation chose"""
    accuracies: Mapping[str, SeedSpread | None] = field(metadata=named("cells"))
    """by split; None where a seed has none"""


@dataclass(frozen=True)
class SeedDifference:
    """Difference of a rank to a baseline over seeds."""

    rank: int | str
    """`choice` is the rank that each seed's own validation chose"""
    against: str
    split: str = field(metadata=named("cell"))
    spread: SeedSpread = field(metadata=inlined())


@dataclass(frozen=True)
class SeedStudy:
    """The evaluation repeated with several seeds."""

    seeds: tuple[int, ...]
    chosen_ranks: tuple[int, ...]
    """the rank that each seed's own validation chose"""
    ranks: tuple[SeedRow, ...]
    differences: tuple[SeedDifference, ...]


@dataclass(frozen=True)
class TextProperty:
    """Correlation over comparisons of an axis with a countable property of texts."""

    name: str
    correlation: float


@dataclass(frozen=True)
class Stability:
    """Correlation of an axis's rewards with those of the corresponding axis of models from other seeds."""

    mean: float
    lowest: float
    n_seeds: int


@dataclass(frozen=True)
class Axis:
    """One axis of a model, with texts at both ends; texts and properties are None for embeddings without texts."""

    name: str
    share: float | None
    """share of the variance of users' rewards, on the simplex the mean weight; None for the shared direction"""
    properties: tuple[TextProperty, ...] | None
    """strongest first"""
    highest: tuple[str, ...] | None
    """responses with the highest rewards, cut where they are long"""
    lowest: tuple[str, ...] | None
    """responses with the lowest rewards"""
    reference_cosine: float | None
    """cosine with the reference head"""
    stability: Stability | None
    """None without other seeds"""


@dataclass(frozen=True)
class Axes:
    """The axes of the focus rank: the shared direction, then those along which users differ most."""

    rank: int
    directions: tuple[Axis, ...]


class _RankResults:
    """Common methods of what has rows of ranks, differences and a chosen rank."""

    ranks: tuple[RankRow, ...]
    differences: tuple[Difference, ...]
    chosen_rank: int

    @property
    def available_ranks(self) -> list[int]:
        """The ranks that were evaluated, in ascending order."""
        return [row.rank for row in self.ranks if row.available]

    def row(self, rank: int) -> RankRow | None:
        """Return the row of one rank, None where there is none."""
        return next((row for row in self.ranks if row.rank == rank), None)

    def accuracy(self, rank: int, split: str) -> Estimate | None:
        """Return the accuracy of one rank on one split, None where there is none."""
        row = self.row(rank)
        return None if row is None else row.accuracy(split)

    def differences_of(self, rank: int) -> list[Difference]:
        """Return the differences of one rank."""
        return [row for row in self.differences if row.rank == rank]

    def difference(self, rank: int, against: str, split: str) -> Difference | None:
        """Return the difference of a rank to a baseline on one split, None where there is none."""
        return next((r for r in self.differences_of(rank) if (r.against, r.split) == (against, split)), None)


@dataclass(frozen=True)
class SeedEvaluation(_RankResults):
    """The part of an evaluation that a run keeps of every further seed."""

    ranks: tuple[RankRow, ...]
    differences: tuple[Difference, ...]
    chosen_rank: int


@dataclass(frozen=True, kw_only=True)
class Report(_RankResults):
    """The results of an evaluation. A chosen rank that is not among the ranks raises `DataError`."""

    schema_version: int
    lorerm_version: str | None = None
    """the version that wrote the report"""
    data: DataSummary
    settings: Settings = field(default_factory=Settings, metadata=named("config"))
    ranks: tuple[RankRow, ...]
    """in ascending order"""
    controls: tuple[Control, ...] = ()
    """of each rank from 2 on"""
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
                "name one of the ranks as chosen_rank",
            )

    def __repr__(self) -> str:
        """Return the ranks alone: the whole report is long, and names users."""
        return f"{type(self).__name__}(ranks={self.available_ranks}, chosen_rank={self.chosen_rank})"

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Report:
        """Read a report from its JSON object.

        Raises
        ------
        DataError
            It is of another schema version, or a field is missing, of another type, NaN or infinite.
        """
        version = content.get("schema_version", SCHEMA_VERSION)
        if version != SCHEMA_VERSION:
            raise DataError(
                f"the report has schema version {version!r}, this library reads {SCHEMA_VERSION}",
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
        """The rank whose controls, differences, gains and axes the report shows; see the function `focus_rank`."""
        return focus_rank(self.chosen_rank, {row.rank: row.fitted_rank for row in self.ranks if row.available})

    @property
    def was_validated(self) -> bool:
        """Whether validation comparisons chose the rank; the published recipes have none."""
        row = self.row(self.chosen_rank)
        return row is not None and row.selection is not None

    @property
    def filled_splits(self) -> list[str]:
        """The names of the splits in which some rank has an accuracy."""
        return [name for name in SPLITS if any(row.accuracy(name) is not None for row in self.ranks)]

    def controls_of(self, rank: int) -> list[Control]:
        """Return the controls of one rank."""
        return [control for control in self.controls if control.rank == rank]

    def control(self, rank: int, name: str) -> Control | None:
        """Return one control of one rank, None where there is none."""
        return next((control for control in self.controls_of(rank) if control.name == name), None)

    @property
    def main_difference(self) -> Difference | None:
        """The difference that shows whether personal weights help; None where there is none.

        It is that of the focus rank to its population model or, if validation chose rank 0 or 1, to the chosen rank.
        It is of the unseen users or, where there are none, of the seen users.
        """
        against = ("reference_head", "bradley_terry", "shared_direction")[min(self.chosen_rank, 2)]
        if not self.was_validated:
            against = "shared_direction"
        found = (self.difference(self.focus_rank, against, split) for split in UNSEEN_FIRST)
        return next((difference for difference in found if difference is not None), None)

    def baseline_accuracy(self, difference: Difference) -> Estimate | None:
        """Return the accuracy of a difference's baseline on its split, None where there is none."""
        ranks = {"reference_head": 0, "bradley_terry": 1}
        if difference.against in ranks:
            return self.accuracy(ranks[difference.against], difference.split)
        control = self.control(difference.rank, difference.against)
        return None if control is None else control.accuracy(difference.split)

    @property
    def clear_from(self) -> int | None:
        """Number of few-shot comparisons from which on the main difference is a gain; None where it is not known."""
        main, curve = self.main_difference, self.few_shot
        if main is None or curve is None or (main.against, main.split) != ("shared_direction", "test_unseen"):
            return None
        return curve.clear_from if curve.rank == main.rank else None


@dataclass(frozen=True)
class ComparedRun(_HasAccuracies):
    """One of several runs that are compared: its data, encoder and recipe, and the accuracies of its chosen rank."""

    name: str
    source: str | None
    encoder: str | None
    """the encoder's model"""
    recipe: str | None
    chosen_rank: int
    accuracies: Mapping[str, Estimate | None] | None = field(metadata=named("cells"))
    """by split; None where a split is empty"""


@dataclass(frozen=True)
class RunDifference:
    """Accuracy of a run minus that of the first run, on the users and prompts of a split that both have."""

    run: str
    against: str
    split: str = field(metadata=named("cell"))
    estimate: Estimate = field(metadata=inlined())


@dataclass(frozen=True)
class RunComparison:
    """Several runs side by side, the later ones paired with the first."""

    runs: tuple[ComparedRun, ...]
    paired: tuple[RunDifference, ...]
    """of each run after the first and each test split; a split without two common users has no entry"""

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a JSON object."""
        return to_json(self, "comparison")
