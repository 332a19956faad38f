"""The evaluation report as dataclasses: they define the schema of `report.json`, which `docs/report.md` documents.

Accuracies and their differences are shares from 0 to 1, and means are over users. A field without a value is None.
Where the name in JSON is another one than the field's, its metadata give it. Renderers ask a report through the
properties and methods here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lorerm.data.schema import SPLITS
from lorerm.embedding.encoder import EncoderIdentity
from lorerm.errors import DataError
from lorerm.evaluation.json_records import from_json, inlined, named, to_json

SCHEMA_VERSION = 1

# A user's gain is the difference of two means of 0 and 1: what is smaller than this is a rounding error.
_ROUNDING_ERROR = 1e-5


def focus_rank(chosen_rank: int, fitted_ranks: Mapping[int, int | None]) -> int:
    """Return the rank that controls, differences, gains and axes are about.

    It is the rank that validation chose. If that one is not personal (0 or 1), it is the largest personal rank, so
    that a reader sees what personal weights would have changed: the largest with more than one fitted direction, or
    the largest of all where each has collapsed to one. If no rank is personal, it is the chosen one.

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


def _is_above_0(interval: tuple[float, float] | None) -> bool:
    return interval is not None and interval[0] > 0


def _is_below_0(interval: tuple[float, float] | None) -> bool:
    return interval is not None and interval[1] < 0


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
        return _is_above_0(self.ci95)

    @property
    def is_loss(self) -> bool:
        """Whether the whole 95% interval is below 0."""
        return _is_below_0(self.ci95)

    @property
    def is_same(self) -> bool:
        """Whether the difference is exactly 0 for every user, as between models that rank all comparisons alike."""
        return self.ci95 == (0.0, 0.0)

    @property
    def is_clear(self) -> bool:
        """Whether there is a 95% interval that does not hold 0; if not, there are too few users to tell."""
        return self.is_gain or self.is_loss


@dataclass(frozen=True)
class SplitSize:
    """Number of users and of comparisons in a split."""

    n_users: int
    n_comparisons: int = field(metadata=named("n_pairs"))

    @property
    def mean_comparisons(self) -> float:
        """Mean number of comparisons of a user; 0 in an empty split."""
        return self.n_comparisons / max(self.n_users, 1)


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
    """What selection saw of a rank on the validation comparisons."""

    validation_loss: float
    validation_accuracy: float
    chosen: Mapping[str, object] = field(default_factory=dict, metadata=inlined())
    """the settings that it chose for the rank"""


@dataclass(frozen=True, kw_only=True)
class RankRow:
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

    def accuracy(self, split: str) -> Estimate | None:
        """Return the accuracy on one split, None where there is none."""
        return (self.accuracies or {}).get(split)


@dataclass(frozen=True)
class Control:
    """Accuracy of one rank's directions with weights that are not the users' own."""

    name: str
    """`shared_direction`: the average weights for everybody; `other_users_weights`: each user with another's"""
    label: str
    """the name in words"""
    rank: int
    accuracies: Mapping[str, Estimate | None] = field(metadata=named("cells"))
    """by split; None where a split is empty"""

    def accuracy(self, split: str) -> Estimate | None:
        """Return the accuracy on one split, None where there is none."""
        return self.accuracies.get(split)


@dataclass(frozen=True)
class Difference:
    """Accuracy of a rank minus that of a baseline, paired within comparisons."""

    rank: int
    against: str
    """`shared_direction`, `bradley_terry`, `reference_head` or `other_users_weights`"""
    split: str = field(metadata=named("cell"))
    estimate: Estimate = field(metadata=inlined())

    @property
    def is_clear(self) -> bool:
        """Whether the 95% interval does not hold 0; if it does, there are too few users to tell."""
        return self.estimate.is_clear


@dataclass(frozen=True)
class UserGain:
    """Gain of one test user from their own weights, over the shared direction."""

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
        """Whether their own weights serve the user better than the shared direction does."""
        return self.gain > _ROUNDING_ERROR

    @property
    def loses(self) -> bool:
        """Whether their own weights serve the user worse than the shared direction does."""
        return self.gain < -_ROUNDING_ERROR

    @property
    def is_loss(self) -> bool:
        """Whether the whole 95% interval is below 0."""
        return _is_below_0(self.ci95)


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
    """Gains of the test users over the shared direction, at the focus rank."""

    rank: int
    against: str
    test_seen: tuple[float, ...]
    test_unseen: tuple[float, ...]
    users: tuple[UserGain, ...] = ()
    """the same gains with the users whose they are; empty in reports of earlier versions"""

    @property
    def by_split(self) -> dict[str, tuple[float, ...]]:
        """The gains by split, unseen users first; splits without users are left out."""
        gains = {"test_unseen": self.test_unseen, "test_seen": self.test_seen}
        return {name: values for name, values in gains.items() if values}

    @property
    def users_by_split(self) -> dict[str, tuple[UserGain, ...]]:
        """The users by split, unseen users first; splits without users are left out."""
        found = {name: tuple(u for u in self.users if u.split == name) for name in ("test_unseen", "test_seen")}
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
        """Return (mean number of fitted comparisons, mean gain) of equally large groups of users, in order.

        Users are grouped by the number of comparisons that their weights were fitted to; a group has at least 4.
        """
        ordered = sorted(self.users_by_split[split], key=lambda user: user.n_fitted)
        n_groups = min(n_groups, len(ordered) // 4)
        groups = [ordered[k * len(ordered) // n_groups : (k + 1) * len(ordered) // n_groups] for k in range(n_groups)]
        means = {
            sum(user.n_fitted for user in group) / len(group): sum(user.gain for user in group) / len(group)
            for group in groups
        }
        return list(means.items())

    def distribution(self, split: str) -> GainDistribution:
        """Return mean, quartiles and shares of a split's gains; the split has users."""
        ordered = sorted(self.by_split[split])
        n = len(ordered)
        lose, gain = (sum(sign * value > _ROUNDING_ERROR for value in ordered) / n for sign in (-1, 1))
        low, middle, high = (_quantile(ordered, share) for share in (0.25, 0.5, 0.75))
        return GainDistribution(n, sum(ordered) / n, (low, middle, high), lose, 1 - lose - gain, gain)


def _quantile(ordered: list[float], share: float) -> float:
    """Return a quantile of sorted values, linear between neighbours."""
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


@dataclass(frozen=True)
class ComparisonAgreement:
    """How often two users who compared the same two responses preferred the same one."""

    share: float
    n_compared: int
    """pairs of users and comparisons"""
    n_response_pairs: int


@dataclass(frozen=True)
class ModelAgreement:
    """On which share of test comparisons two users' own weights prefer the same response."""

    rank: int
    share: float
    n_users: int


@dataclass(frozen=True)
class Agreement:
    """How far users agree, in their comparisons and by their models; None where that is not known."""

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
    """the fewest comparisons, of numbers that some user has, from which on the gain's interval is above 0"""
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
    """standard error that users and prompts leave within one seed: root of the mean square of `stderr_two_way`"""
    std_fit: float | None
    """what `std_seeds` has beyond `stderr_within`; 0 where the seeds differ no more than other users would"""
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
    """Correlation over other seeds of an axis with what they found."""

    mean: float
    lowest: float
    n_seeds: int


@dataclass(frozen=True)
class Axis:
    """One axis of a model and what it goes with; texts and properties are None for embeddings without texts."""

    name: str
    share: float | None
    """of the variance of users' rewards, on the simplex the mean weight; None for the shared direction"""
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
    """What can be asked of anything that has rows of ranks, differences and a chosen rank."""

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
        """Return the difference of a rank to a baseline on one split, None where it was not computed."""
        return next((r for r in self.differences_of(rank) if (r.against, r.split) == (against, split)), None)


@dataclass(frozen=True)
class SeedEvaluation(_RankResults):
    """The part of an evaluation that is kept of every further seed."""

    ranks: tuple[RankRow, ...]
    differences: tuple[Difference, ...]
    chosen_rank: int


@dataclass(frozen=True, kw_only=True)
class Report(_RankResults):
    """Everything that an evaluation found.

    Raises
    ------
    DataError
        The chosen rank is not among the ranks.
    """

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
        """Return what was compared: the whole is long, and names users."""
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
        content: dict[str, Any] = to_json(self, "report")
        return content

    @property
    def focus_rank(self) -> int:
        """The rank that controls, differences, gains and axes are about; see the function `focus_rank`."""
        return focus_rank(self.chosen_rank, {row.rank: row.fitted_rank for row in self.ranks if row.available})

    @property
    def was_validated(self) -> bool:
        """Whether the chosen rank was compared on validation comparisons; the published recipes have none."""
        row = self.row(self.chosen_rank)
        return row is not None and row.selection is not None

    @property
    def filled_splits(self) -> list[str]:
        """The names of the splits in which some rank has an accuracy."""
        return [name for name in SPLITS if any(row.accuracy(name) is not None for row in self.ranks)]

    def controls_of(self, rank: int) -> list[Control]:
        """Return the controls of one rank."""
        return [control for control in self.controls if control.rank == rank]

    @property
    def main_difference(self) -> Difference | None:
        """The difference that answers whether personal weights help; None where it was not computed.

        It is that of the focus rank, for the unseen users or, where there are none, the seen users. The baseline is
        the population model of that rank. If validation chose rank 0 or 1, the baseline is the chosen rank.
        """
        against = ("reference_head", "bradley_terry", "shared_direction")[min(self.chosen_rank, 2)]
        if not self.was_validated:
            against = "shared_direction"
        found = (self.difference(self.focus_rank, against, split) for split in ("test_unseen", "test_seen"))
        return next((difference for difference in found if difference is not None), None)

    def baseline_accuracy(self, difference: Difference) -> Estimate | None:
        """Return the accuracy of a difference's baseline on its split, None where there is none."""
        baselines: dict[str, RankRow | Control | None] = {
            "bradley_terry": self.row(1),
            "reference_head": self.row(0),
        }
        row = baselines.get(difference.against, self.control(difference.rank, difference.against))
        return None if row is None else row.accuracy(difference.split)

    @property
    def clear_from(self) -> int | None:
        """Few-shot comparisons from which on the main difference is a gain; None where that is not known."""
        main, curve = self.main_difference, self.few_shot
        if main is None or curve is None or (main.against, main.split) != ("shared_direction", "test_unseen"):
            return None
        return curve.clear_from if curve.rank == main.rank else None

    def control(self, rank: int, name: str) -> Control | None:
        """Return one control of one rank, None where there is none."""
        return next((control for control in self.controls_of(rank) if control.name == name), None)


@dataclass(frozen=True)
class ComparedRun:
    """One of several runs that are compared: what it was made of, and the accuracies of its chosen rank."""

    name: str
    source: str | None
    encoder: str | None
    """the encoder's model"""
    recipe: str | None
    chosen_rank: int
    accuracies: Mapping[str, Estimate | None] | None = field(metadata=named("cells"))
    """by split; None where a split is empty"""

    def accuracy(self, split: str) -> Estimate | None:
        """Return the accuracy on one split, None where there is none."""
        return (self.accuracies or {}).get(split)


@dataclass(frozen=True)
class RunDifference:
    """Accuracy of a run minus that of the first, on the users and prompts of a split that both have."""

    run: str
    against: str
    split: str = field(metadata=named("cell"))
    estimate: Estimate = field(metadata=inlined())

    @property
    def is_clear(self) -> bool:
        """Whether the 95% interval does not hold 0; if it does, there are too few users to tell."""
        return self.estimate.is_clear


@dataclass(frozen=True)
class RunComparison:
    """Several runs side by side, the later ones paired with the first."""

    runs: tuple[ComparedRun, ...]
    paired: tuple[RunDifference, ...]
    """of each run after the first and each test split; a split without two common users has no entry"""

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a JSON object."""
        content: dict[str, Any] = to_json(self, "comparison")
        return content
