"""Responses of the simulated population: answers to everyday questions, in many styles.

A response is composed, not filled in: what it says comes from the facts of its topic (``simulated_topics.json``),
how it says it from pools of sentence patterns (``simulated_phrases.json``), and both are drawn with probabilities that
move with the response's style. No attribute is written into the text by one fixed phrase, so that a reader of the text
sees the style, but through noise.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.data.datasets.simulated_questions import Question, capitalise, phrases, pick, topics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ATTRIBUTES = ("length", "formality", "directness", "warmth", "structure", "hedging", "examples", "humour")
"""The style attributes, in the order of `StyledResponse.style`; mean 0 and variance 1 before clipping at 2.5."""

# Correlations found in real answers: long ones are structured, warm ones joke, blunt ones hedge little.
_CORRELATIONS = {
    ("length", "structure"): 0.3,
    ("formality", "humour"): -0.3,
    ("warmth", "humour"): 0.2,
    ("directness", "hedging"): -0.3,
    ("length", "examples"): 0.2,
}


@dataclass(frozen=True, eq=False)
class StyledResponse:
    """One response to one prompt, with the latent values that its text was composed from."""

    prompt_id: str
    prompt: str
    text: str
    style: np.ndarray
    """[8] float64, in the order of `ATTRIBUTES`."""
    quality: float
    """How complete, specific and on-topic the response is; mean 0, variance 1 before clipping."""


def draw_styles(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw latent styles, mildly correlated as in real answers.

    Returns
    -------
    ndarray [n, 8] float64
        Columns as in `ATTRIBUTES`.
    """
    correlation = np.eye(len(ATTRIBUTES))
    for (one, other), value in _CORRELATIONS.items():
        i, j = ATTRIBUTES.index(one), ATTRIBUTES.index(other)
        correlation[i, j] = correlation[j, i] = value
    styles: np.ndarray = rng.standard_normal((n, len(ATTRIBUTES))) @ np.linalg.cholesky(correlation).T
    return styles.clip(-2.5, 2.5)


def write_responses(
    questions: Sequence[Question], n_responses: int, rng: np.random.Generator
) -> tuple[StyledResponse, ...]:
    """Answer every question in several styles.

    Parameters
    ----------
    questions
        What to answer.
    n_responses
        Responses to each question, all of them different texts.
    rng
        Draws styles, qualities and wordings.

    Returns
    -------
    tuple of StyledResponse
        Response r of question q stands at ``q * n_responses + r``.
    """
    styles = draw_styles(len(questions) * n_responses, rng)
    styles.flags.writeable = False
    qualities = np.clip(rng.standard_normal(len(styles)), -2.5, 2.5)
    responses = []
    for number, question in enumerate(questions):
        written: set[str] = set()
        for row in range(number * n_responses, (number + 1) * n_responses):
            style = dict(zip(ATTRIBUTES, styles[row].tolist(), strict=True))
            text = ""
            while not text or text in written:
                text = _Writer(question, style, float(qualities[row]), rng).write()
            written.add(text)
            responses.append(
                StyledResponse(question.prompt_id, question.text, text, styles[row], float(qualities[row]))
            )
    return tuple(responses)


class _Writer:
    """Composes one response: the points it makes, the remarks around them, and their layout."""

    def __init__(
        self, question: Question, style: Mapping[str, float], quality: float, rng: np.random.Generator
    ) -> None:
        self.question = question
        self.topic = question.topic
        self.style = style
        self.quality = quality
        self.rng = rng
        self.used: set[str] = set()
        tips = self.topic.tips if question.kind != "why" else _without(self.topic.tips, question.tip)
        self.tips = [tips[index] for index in rng.permutation(len(tips))]

    def write(self) -> str:
        opening, points, warnings = self.opening(), self.points(), self.warnings()
        text = self.lay_out(opening, points, warnings, self.notes(), self.closing())
        if self.happens(-1.6 * self.quality - 3.2):  # a poor answer may break off
            text = text[: int(len(text) * 0.85)].rsplit(" ", 1)[0]
        return text

    # chance

    def happens(self, log_odds: float) -> bool:
        return bool(self.rng.random() < 1 / (1 + math.exp(-log_odds)))

    def fresh(self, pool: Sequence[str]) -> str:
        """Draw a phrase, preferring one that this response has not used."""
        unused = [phrase for phrase in pool if phrase not in self.used] or pool
        phrase = pick(unused, self.rng)
        self.used.add(phrase)
        return phrase

    def register(self) -> str:
        tone = self.style["formality"] + 0.6 * self.rng.standard_normal()
        return "formal" if tone > 0.5 else "casual" if tone < -0.5 else "neutral"

    def manner(self) -> str:
        return "direct" if self.happens(2.6 * self.style["directness"]) else "indirect"

    # sentences

    def say(self, pattern: str, **slots: str) -> str:
        """Fill a pattern and give it the words of the response's register."""
        text = pattern.format(task=self.topic.task, doing=self.topic.doing, goal=self.topic.goal, **slots)
        if self.happens(-2.0 * self.style["formality"]):
            text = _substitute(text, "contractions")
        register = self.register()
        if register != "neutral":
            text = _substitute(text, f"{register}_words")
        return capitalise(text)

    def from_pool(self, name: str, **slots: str) -> str:
        return self.say(self.fresh(phrases()[name][self.register()]), **slots)

    def point(self, imperative: str, reason: str) -> str:
        pattern = self.fresh(phrases()["tip"][self.manner()][self.register()])
        if self.happens(0.8 * self.style["length"] + 1.0 * self.quality - 0.7) and pattern.endswith("."):
            pattern = pattern[:-1] + self.fresh(phrases()["reason"][self.register()]) + "."
        if not pattern.endswith("?") and self.happens(2.0 * self.style["hedging"] - 2.2):
            pattern = f"{self.fresh(phrases()['hedge_word'])}, {_decapitalise(pattern)}"
        text = self.say(pattern, imp=imperative, reason=reason)
        if self.happens(1.3 * self.style["length"] + 0.8 * self.quality - 2.0):
            text += " " + self.say(self.fresh(phrases()["more"]))
        return text

    # parts of a response

    def points(self) -> list[str]:
        """Return what the response advises: specific when it is good, vague or beside the question when it is poor."""
        n = int(np.clip(round(4.0 + 2.2 * self.style["length"] + 0.3 * self.rng.standard_normal()), 1, 9))
        points = self.answer() if self.happens(2.0 + 2.0 * self.quality) else []
        for tip in self.tips[: max(n - len(points), 0 if points else 1)]:
            if self.happens(1.2 + 2.4 * self.quality):
                points.append(self.point(*tip))
            elif self.happens(-1.8):  # beside the question
                points.append(self.point(*pick(pick(topics(), self.rng).tips, self.rng)))
            else:
                points.append(self.say(self.fresh(phrases()["vague"])))
        if self.happens(-1.8 * self.style["hedging"] - 1.8):
            points[-1] += " " + self.from_pool("sure")
        if self.happens(-1.8 * self.style["humour"] - 2.2):
            points[0] += " " + self.from_pool("sober")
        return points

    def answer(self) -> list[str]:
        """Return what answers the very question that was asked."""
        topic, kind = self.topic, self.question.kind
        if kind == "choice":
            better, other, on_better, on_other = topic.choice
            verdict = self.say(self.fresh(phrases()["verdict"][self.manner()]), a=better, b=other)
            sides = [on_better, on_other] if self.style["length"] > -0.8 else [on_better]
            return [verdict, self.say("; ".join(sides) + ".")]
        if kind == "trouble":
            cause = self.say(self.fresh(phrases()["cause"][self.manner()]), cause=topic.trouble[1])
            return [cause, self.say(self.fresh(phrases()["tip"][self.manner()][self.register()]), imp=topic.trouble[2])]
        if kind == "why":
            reason = topic.tips[self.question.tip][1]
            return [self.say(self.fresh(phrases()["because"][self.manner()]), reason=reason)]
        if kind == "mistakes":
            return [self.from_pool("pitfall", pit=pitfall) for pitfall in topic.pitfalls[: 2 + self.happens(0.0)]]
        return []

    def warnings(self) -> list[str]:
        if self.question.kind == "mistakes" or not self.happens(1.4 * self.style["length"] - 1.2):
            return []
        return [
            self.from_pool("pitfall", pit=pit) for pit in self.topic.pitfalls[: 1 + self.happens(self.style["length"])]
        ]

    def opening(self) -> list[str]:
        sentences = []
        if self.happens(2.6 * self.style["warmth"] - 0.2):
            sentences.append(self.from_pool("warm_open"))
        if self.happens(-2.4 * self.style["directness"] + 0.4 * self.style["length"] - 0.3):
            sentences.append(self.from_pool("background"))
        elif self.question.kind in ("how", "start", "plan") and self.happens(2.4 * self.style["directness"] - 0.3):
            sentences.append(self.from_pool("lead", imp=self.tips.pop()[0]))
        return sentences

    def notes(self) -> list[str]:
        """Return examples, jokes, doubts and encouragement, in a shuffled order."""
        style, sentences = self.style, []
        slots = {"imp": pick(self.topic.tips, self.rng)[0], "pit": pick(self.topic.pitfalls, self.rng)}
        for threshold in (-0.6, 1.2, 3.0):
            if self.happens(2.6 * style["examples"] - threshold):
                example = self.fresh(self.topic.examples * 3 + phrases()["anecdote"])
                sentences.append(self.from_pool("example", ex=example.format(goal=self.topic.goal, **slots)))
            if self.happens(2.6 * style["humour"] - threshold - 0.3):
                quip = self.say(self.fresh(self.topic.quips * 3 + phrases()["quip"]))
                sentences.append(f"({quip})" if self.happens(-0.5) else quip)
            if self.happens(2.6 * style["hedging"] - threshold - 0.5):
                sentences.append(self.from_pool("hedge"))
            if self.happens(2.6 * style["warmth"] - threshold - 1.0):
                sentences.append(self.from_pool("warm_mid"))
        return [sentences[i] for i in self.rng.permutation(len(sentences))]

    def closing(self) -> list[str]:
        if self.happens(2.6 * self.style["warmth"] - 0.8):
            return [self.from_pool("warm_close")]
        return [self.from_pool("end")] if self.happens(0.7 * self.style["length"] - 1.2) else []

    # layout

    def lay_out(
        self, opening: list[str], points: list[str], warnings: list[str], notes: list[str], closing: list[str]
    ) -> str:
        level = self.style["structure"] + 0.35 * self.rng.standard_normal()
        if level < 0.35:
            points = [self.ordered(place, point) for place, point in enumerate(points)]
            paragraphs = [opening + points, warnings + notes, closing]
            if level < -0.4:
                paragraphs = [[sentence for paragraph in paragraphs for sentence in paragraph]]
            return "\n\n".join(" ".join(paragraph) for paragraph in paragraphs if paragraph)
        blocks = [" ".join(opening)]
        headings = level > 1.1
        blocks += self.section("tips", points, headings)
        blocks += self.section("pitfalls", warnings, headings or bool(warnings))
        blocks += [self.heading("extra")] if headings and len(notes) > 1 else []
        blocks += [" ".join(notes), " ".join(closing)]
        return "\n\n".join(block for block in blocks if block)

    def section(self, name: str, items: list[str], with_heading: bool) -> list[str]:
        if not items:
            return []
        numbered = name == "tips" and len(items) > 1 and self.happens(0.3)
        marks = [f"{place}." for place in range(1, len(items) + 1)] if numbered else ["-"] * len(items)
        lines = "\n".join(f"{mark} {item}" for mark, item in zip(marks, items, strict=True))
        return [self.heading(name), lines] if with_heading else [lines]

    def heading(self, name: str) -> str:
        title = self.fresh(phrases()["heading"][name])
        return f"## {title}" if self.style["structure"] > 1.4 else f"**{title}**"

    def ordered(self, place: int, point: str) -> str:
        """Begin a sentence of running text with its place in the order, now and then."""
        if not self.happens(0.6 * self.style["structure"] - 1.6):
            return point
        word = "First" if place == 0 else self.fresh(phrases()["order"])
        return f"{word}, {_decapitalise(point)}"


def _without(items: Sequence[Any], place: int) -> list[Any]:
    return [*items[:place], *items[place + 1 :]]


@cache
def _pattern(name: str) -> re.Pattern[str]:
    # Neither "it is." at a sentence's end nor "children's" may be replaced.
    return re.compile(r"\b(" + "|".join(map(re.escape, phrases()[name])) + r")\b(?=[ ,])", re.IGNORECASE)


def _substitute(text: str, name: str) -> str:
    """Replace words by those of another register, keeping a capital first letter."""
    words = phrases()[name]
    lower = {key.lower(): value for key, value in words.items()}

    def replacement(match: re.Match[str]) -> str:
        new: str = lower[match[0].lower()]
        return capitalise(new) if match[0][0].isupper() else new

    return _pattern(name).sub(replacement, text)


def _decapitalise(text: str) -> str:
    return text if text.startswith(("I ", "I'")) else text[:1].lower() + text[1:]
