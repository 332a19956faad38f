"""Leak check: measure how well the length or the format of two responses predicts which one was chosen.

If different code wrote the chosen and the rejected responses, they can differ at their ends (brackets, quotes, a
newline) or in their lengths (only the chosen or only the rejected ones are cut off). A model then learns this
difference instead of the users' preferences. A preference for longer or shorter responses is not a leak: the check
reports only what such a preference does not explain.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lorerm.arrays import Bools, Floats, Ints
    from lorerm.data.conversation import Conversation
    from lorerm.data.preferences import Preferences

_MAX_COMPARISONS = 20_000  # bounds the time to a few seconds; standard errors are then about 0.005
_MIN_COMPARISONS = 20  # a scorer needs half of this number to be fitted, and half to be measured

# A scorer gives a warning if its accuracy exceeds a threshold by more than two standard errors. The threshold is the
# accuracy of a baseline plus a quarter of the baseline's error rate (0.625 for a baseline of 0.5, 0.775 for 0.7). For
# the lengths, the baseline is the better of two rules: always the longer response, or always the shorter one. For the
# format, the baseline is chance. On clean data (UKPConvArg1, simulated preferences for length) the lengths gain nothing
# over their baseline, and the format gains at most 0.06; a rendering fault gains 0.4 or more.
_SUSPECT_GAIN = 0.25
_STANDARD_ERRORS = 2.0
# Users who strongly prefer longer or shorter responses follow this preference in about 85% of their comparisons. A
# share of 90% or more gives a warning if it is also two standard errors above 85%.
_NEARLY_ALL = 0.9
_STRONG_PREFERENCE = 0.85


@dataclass(frozen=True)
class LeakReport:
    """How well the length and the format of the responses, without their words, predict which one was chosen."""

    longer_chosen: float
    """share of comparisons in which the longer response was chosen; equal lengths count one half"""
    length_accuracy: float
    """held-out accuracy of a decision tree on the two lengths; 0.5 if there are too few comparisons"""
    length_noise: float
    """standard error of `length_accuracy`"""
    format_accuracy: float
    """held-out accuracy of a logistic regression on the format; chance is 0.5. Comparisons in which the longer response
    was chosen have the same total weight as comparisons in which the shorter one was, so that a preference for length
    gains nothing. The value is 0.5 if there are too few comparisons"""
    format_noise: float
    """standard error of `format_accuracy`"""
    n_pairs: int
    """number of comparisons used"""

    def warnings(self) -> list[str]:
        """Return one sentence for each sign of a leak; an empty list if there is none."""
        sentences = []
        by_rule = max(self.longer_chosen, 1 - self.longer_chosen)
        which = "longer" if self.longer_chosen >= 0.5 else "shorter"
        margin = _STANDARD_ERRORS * math.sqrt(_NEARLY_ALL * (1 - _NEARLY_ALL) / max(self.n_pairs, 1))
        if by_rule >= max(_NEARLY_ALL, _STRONG_PREFERENCE + margin):
            sentences.append(
                f"LEAK? The {which} response is the chosen one in {by_rule:.0%} of {self.n_pairs:,} comparisons: check "
                "whether only the chosen or only the rejected responses were cut off or written by another program."
            )
        elif self.length_accuracy > by_rule + _SUSPECT_GAIN * (1 - by_rule) + _STANDARD_ERRORS * self.length_noise:
            sentences.append(
                f"LEAK? The lengths alone predict {self.length_accuracy:.0%} of the comparisons, far more than a "
                f"preference for {which} responses explains ({by_rule:.0%}): check whether only the chosen or only the "
                "rejected responses were cut off at a fixed length."
            )
        if self.format_accuracy > 0.5 + _SUSPECT_GAIN * 0.5 + _STANDARD_ERRORS * self.format_noise:
            sentences.append(
                f"LEAK? The format alone, without the words, predicts {self.format_accuracy:.0%} of the comparisons "
                "(chance is 50%): check for brackets, quotes, white space or markup that only the chosen or only the "
                "rejected responses have."
            )
        return sentences

    def to_dict(self) -> dict[str, float | int]:
        """Return the fields by name, as JSON-serialisable values."""
        return asdict(self)


def check_leaks(preferences: Preferences, seed: int = 0) -> LeakReport:
    """Measure how well length and format alone predict the chosen response.

    Two scorers are fitted on the comparisons of half of the prompts and measured on the comparisons of the other half.
    (If prompts of both halves share responses, the responses are divided instead of the prompts.) The scorers:

    - For the length: a decision tree on the lengths of both responses in characters.
    - For the format: a logistic regression on the classes of the first and last characters, on brackets, quotes and
      markup at the ends, on newlines, and on the number of messages.

    Parameters
    ----------
    preferences
        The comparisons. If there are more than 20,000, a random sample of 20,000 is used.
    seed
        Seed of the random sample and of the division of the prompts.

    Returns
    -------
    LeakReport
        Its `warnings()` are sentences to show to the user.
    """
    rng = np.random.default_rng(seed)
    if len(preferences) > _MAX_COMPARISONS:
        preferences = preferences.select(np.sort(rng.choice(len(preferences), _MAX_COMPARISONS, replace=False)))
    chosen, rejected = preferences.messages("chosen"), preferences.messages("rejected")
    lengths = np.array([[*map(_length, chosen)], [*map(_length, rejected)]], dtype=np.float64).T
    longer = np.sign(lengths[:, 0] - lengths[:, 1])
    share = float(np.mean((longer + 1) / 2)) if len(longer) else 0.5
    prompts = np.unique(preferences.prompt_ids.astype(str), return_inverse=True)[1]
    fitted, held_out = _divide(prompts, np.stack(preferences.rows()), rng)
    by_length = by_format = (0.5, 0.5)
    by_rule = max(share, 1 - share)
    if min(held_out.sum(), fitted.sum()) >= _MIN_COMPARISONS // 2:
        groups = prompts[held_out]
        by_length = _measure(_length_scores(lengths, fitted, held_out, seed), np.ones(len(groups)), groups, by_rule)
        balanced = _balance(longer)
        features = _format_features(chosen) - _format_features(rejected)
        by_format = _measure(_format_scores(features, balanced, fitted, held_out), balanced[held_out], groups, 0.5)
    return LeakReport(share, *by_length, *by_format, n_pairs=len(longer))


def _divide(prompts: Ints, responses: Ints, rng: np.random.Generator) -> tuple[Bools, Bools]:
    """Return two masks: the comparisons to fit the scorers to, and those to measure them on.

    The two have no prompt in common or, if different prompts share responses, no response. `responses` [2, n] are the
    rows of the chosen and the rejected responses.
    """
    # Hold out half of the prompts: every second one in a random permutation of their numbers.
    second = np.isin(prompts, rng.permutation(prompts.max(initial=-1) + 1)[::2])
    if not np.intersect1d(responses[:, second], responses[:, ~second]).size:
        return ~second, second
    # A response to several prompts can be recognised by its length, and then its popularity predicts the choice. Hold
    # out half of the responses, and leave out comparisons between the two halves.
    half = rng.permutation(np.unique(responses))[::2]
    chosen, rejected = (np.isin(rows, half) for rows in responses)
    return ~(chosen | rejected), chosen & rejected


def _length_scores(lengths: Floats, fitted: Bools, held_out: Bools, seed: int) -> Floats:
    """Score held-out comparisons by the lengths of both responses; a positive score is a correct prediction."""
    from sklearn.tree import DecisionTreeClassifier

    def features(pairs: Floats) -> Floats:
        return np.column_stack([pairs, pairs[:, 0] - pairs[:, 1]])

    forward, backward = lengths[fitted], lengths[fitted][:, ::-1]
    scorer = DecisionTreeClassifier(max_leaf_nodes=24, min_samples_leaf=10, random_state=seed)
    scorer.fit(features(np.concatenate([forward, backward])), np.repeat([1, 0], len(forward)))
    tested = lengths[held_out]
    # Subtract the predictions for the two orders of the responses, so that the order itself has no influence.
    chances = [scorer.predict_proba(features(pairs))[:, 1] for pairs in (tested, tested[:, ::-1])]
    return np.asarray(chances[0] - chances[1], dtype=np.float64)


def _format_scores(features: Floats, weights: Floats, fitted: Bools, held_out: Bools) -> Floats:
    """Score held-out comparisons by the difference between the formats; a positive score is a correct prediction.

    The regression is fitted to each difference (label 1) and to its negative (label 0).
    """
    from sklearn.linear_model import LogisticRegression

    difference = features[fitted]
    scorer = LogisticRegression(fit_intercept=False, C=1.0, max_iter=500)
    scorer.fit(
        np.concatenate([difference, -difference]),
        np.repeat([1, 0], len(difference)),
        sample_weight=np.tile(weights[fitted], 2),
    )
    return np.asarray(features[held_out] @ scorer.coef_[0], dtype=np.float64)


def _balance(longer: Floats) -> Floats:
    """Return weights with which the comparisons whose longer response was chosen weigh as much as the others."""
    weights = np.ones(len(longer))
    n_longer, n_shorter = int((longer > 0).sum()), int((longer < 0).sum())
    if n_longer and n_shorter:
        weights[longer > 0] = (n_longer + n_shorter) / (2 * n_longer)
        weights[longer < 0] = (n_longer + n_shorter) / (2 * n_shorter)
    return weights


def _measure(scores: Floats, weights: Floats, prompts: Ints, expected: float) -> tuple[float, float]:
    """Return the weighted accuracy and its standard error; a score of 0 counts as half correct.

    Comparisons on one prompt are not independent, so the standard error is clustered by prompt. It is at least the
    standard error of the same number of independent comparisons with the accuracy `expected` of clean data.
    """
    right = (np.sign(np.where(np.abs(scores) < 1e-9, 0.0, scores)) + 1) / 2
    total = weights.sum()
    accuracy = float(weights @ right / total)
    by_prompt = np.bincount(prompts, weights * (right - accuracy))
    clustered = np.sqrt((by_prompt**2).sum()) / total
    independent = np.sqrt(expected * (1 - expected) * (weights**2).sum()) / total
    return accuracy, float(max(clustered, independent))


def _length(response: Conversation) -> int:
    return sum(len(message["content"]) for message in response)


# Classes of the first and the last character. The order here is the order of the features.
_CLASSES = ["none", "letter", "capital", "digit", "stop", "open", "close", "quote", "markup", "break", "space", "other"]
_MEMBERS = {"break": "\r\n", "stop": ".!?…", "quote": "\"'`“”‘’", "markup": "#*-_~|>+="}
_CATEGORIES = {"Ps": "open", "Pe": "close", "Lu": "capital", "Nd": "digit"}  # Unicode category -> class

_BEGINNINGS = (
    r"\s*[\[({]\s*[\"'{]",  # a printed list
    r"\s*[\[{]*\s*[\"']?role[\"']?\s*:",  # a printed message
    r"\s*<[|/\w]",  # tags and special tokens
    r"\s*(?:[-*•]|\d+[.)])\s",  # an item of a list
    r"\s*#+\s",  # a heading
    r"\s*\*\*",  # bold
    r"\s*```",  # code
)
_ENDS = (
    r"[\"'}]\s*[\])}]\s*\Z",  # a printed list
    r"[|/\w]>\s*\Z",  # tags and special tokens
)
_ANYWHERE = ("\r", "\n", "\n\n")
_REACH = 40  # number of characters at each end of a text in which the patterns are searched


def _format_features(responses: list[Conversation]) -> Floats:
    """Return features of the format, without the words: [n, F] indicators (0 or 1), and last the number of messages."""
    features = np.zeros((len(responses), 2 * len(_CLASSES) + len(_BEGINNINGS) + len(_ENDS) + len(_ANYWHERE) + 1))
    for row, response in zip(features, responses, strict=True):
        text = response[-1]["content"]
        first, last = _class(text[:1]), _class(text[-1:])
        row[:] = [
            *(first == name for name in _CLASSES),
            *(last == name for name in _CLASSES),
            *(re.match(pattern, text[:_REACH]) is not None for pattern in _BEGINNINGS),
            *(re.search(pattern, text[-_REACH:]) is not None for pattern in _ENDS),
            *(newline in text for newline in _ANYWHERE),
            len(response),
        ]
    return features


def _class(character: str) -> str:
    """Return the class of a character, one of `_CLASSES`; "none" for the empty string."""
    if not character:
        return "none"
    for name, members in _MEMBERS.items():
        if character in members:
            return name
    if character.isspace():
        return "space"
    category = unicodedata.category(character)
    return _CATEGORIES.get(category, "letter" if category.startswith("L") else "other")
