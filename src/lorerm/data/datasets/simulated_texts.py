"""Compose the texts of the simulated population: everyday questions, and responses to them in many styles.

The facts in a text come from its topic (`simulated_topics.json`). The wording comes from pools of sentence patterns
(`simulated_phrases.json`). Both are drawn with probabilities that depend on the style of the response, so that the text
shows the style only with noise.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cache, reduce
from importlib.resources import files
from operator import getitem
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

KINDS = ("how", "plan", "start", "mistakes", "choice", "trouble", "why")
"""The kinds of questions; each kind is asked about every topic."""

ATTRIBUTES = ("length", "formality", "directness", "warmth", "structure", "hedging", "examples", "humour")
"""The attributes of style, in the order of `StyledResponse.style`.

Each has mean 0 and variance 1 before it is clipped to [-2.5, 2.5].
"""

# Mild, plausible correlations: long responses are more structured, warm responses have more humour, direct responses
# hedge less.
_CORRELATIONS = {
    ("length", "structure"): 0.3,
    ("formality", "humour"): -0.3,
    ("warmth", "humour"): 0.2,
    ("directness", "hedging"): -0.3,
    ("length", "examples"): 0.2,
}


class Topic(NamedTuple):
    """Facts about one everyday subject, from which prompts and responses are composed."""

    task: str  # the subject as an imperative: "bake sourdough bread"
    doing: str  # the subject as a gerund
    goal: str  # what success looks like, as a noun phrase
    tips: list[tuple[str, str]]  # seven pairs of an imperative and its reason
    pitfalls: list[str]  # mistakes, as gerunds
    choice: tuple[str, str, str, str]  # the better option, the other option, and a clause on each
    trouble: tuple[str, str, str]  # a symptom, its cause, and the cure as an imperative
    examples: list[str]  # concrete cases, as clauses
    quips: list[str]  # jokes, as whole sentences


class Question(NamedTuple):
    """One prompt, with the facts needed to compose responses to it."""

    prompt_id: str
    text: str
    kind: str  # one of `KINDS`
    topic: Topic
    tip: int  # index of the tip that a "why" question is about


@dataclass(frozen=True, eq=False)
class StyledResponse:
    """One response to one prompt, with the latent style and quality from which its text was composed."""

    prompt_id: str
    prompt: str
    text: str
    style: np.ndarray
    """[8] float64, in the order of `ATTRIBUTES`"""
    quality: float
    """how complete, specific and on-topic the response is; mean 0 and variance 1 before clipping to [-2.5, 2.5]"""


@cache
def _read(name: str) -> Any:  # noqa: ANN401 - the content of a JSON file
    return json.loads(files(__package__).joinpath(f"simulated_{name}.json").read_text(encoding="utf-8"))


@cache
def topics() -> tuple[Topic, ...]:
    """Return all topics, in file order."""
    return tuple(Topic(**entry) for entry in _read("topics"))


def ask_questions(rng: np.random.Generator) -> tuple[Question, ...]:
    """Return one question of every kind about every topic, worded at random and in random order.

    The prompt ids are "prompt-000", "prompt-001" and so on, in this order.
    """
    cases = [(topic, kind) for topic in topics() for kind in KINDS]
    questions = []
    for number, case in enumerate(rng.permutation(len(cases))):
        topic, kind = cases[case]
        tip = int(rng.random() * len(topic.tips))
        a, b = topic.choice[:2] if rng.random() < 0.5 else topic.choice[1::-1]
        pattern: str = _pick(_read("phrases")["prompts"][kind], rng)
        text = pattern.format(
            task=topic.task, doing=topic.doing, a=a, b=b, imp=topic.tips[tip][0], symptom=topic.trouble[0]
        )
        questions.append(Question(f"prompt-{number:03d}", _capitalise(text), kind, topic, tip))
    return tuple(questions)


def write_responses(
    questions: Sequence[Question], n_responses: int, rng: np.random.Generator
) -> tuple[StyledResponse, ...]:
    """Compose `n_responses` different responses to each question, with random styles, qualities and wordings.

    Response r to question q has the index `q * n_responses + r`.
    """
    n = len(questions) * n_responses
    correlation = np.eye(len(ATTRIBUTES))
    for (one, other), value in _CORRELATIONS.items():
        i, j = ATTRIBUTES.index(one), ATTRIBUTES.index(other)
        correlation[i, j] = correlation[j, i] = value
    styles = (rng.standard_normal((n, len(ATTRIBUTES))) @ np.linalg.cholesky(correlation).T).clip(-2.5, 2.5)
    styles.flags.writeable = False
    qualities = np.clip(rng.standard_normal(n), -2.5, 2.5).tolist()
    responses: list[StyledResponse] = []
    for number, question in enumerate(questions):
        written: set[str] = set()
        for row in range(number * n_responses, (number + 1) * n_responses):
            traits = {"quality": qualities[row], **dict(zip(ATTRIBUTES, styles[row].tolist(), strict=True))}
            text = ""
            # Try again if the text is equal to another response to this question.
            while not text or text in written:
                text = _Writer(question, traits, rng).write()
            written.add(text)
            responses.append(StyledResponse(question.prompt_id, question.text, text, styles[row], qualities[row]))
    return tuple(responses)


class _Writer:
    """Composer of one response: its points, the remarks around them, and their layout.

    The methods draw random numbers, so that another order of calls gives another text.
    """

    def __init__(self, question: Question, traits: dict[str, float], rng: np.random.Generator) -> None:
        self.question, self.topic, self.traits, self.rng = question, question.topic, traits, rng
        self.used: set[str] = set()
        # A "why" question contains one of the tips, which is not given again as advice.
        tips = [tip for i, tip in enumerate(self.topic.tips) if question.kind != "why" or i != question.tip]
        self.tips = [tips[i] for i in rng.permutation(len(tips))]

    def write(self) -> str:
        opening, points, warnings, notes = self.opening(), self.points(), self.warnings(), self.notes()
        text = self.lay_out(opening, points, warnings, notes, self.closing())
        if self.happens(-3.2, quality=-1.6):  # a poor response may break off
            text = text[: int(len(text) * 0.85)].rsplit(" ", 1)[0]
        return text

    def happens(self, constant: float, **coefficients: float) -> bool:
        """Draw an event whose log-odds are linear in the traits: the style and the quality of the response."""
        log_odds = sum(factor * self.traits[name] for name, factor in coefficients.items()) + constant
        return bool(self.rng.random() < 1 / (1 + math.exp(-log_odds)))

    def fresh(self, pool: Sequence[str]) -> str:
        """Draw a phrase from the pool; if possible, one that this response has not used yet."""
        phrase = _pick([phrase for phrase in pool if phrase not in self.used] or pool, self.rng)
        self.used.add(phrase)
        return phrase

    def phrase(self, *path: str) -> str:
        return self.fresh(reduce(getitem, path, _read("phrases")))

    def register(self) -> str:
        tone = self.traits["formality"] + 0.6 * self.rng.standard_normal()
        return "formal" if tone > 0.5 else "casual" if tone < -0.5 else "neutral"

    def manner(self) -> str:
        return "direct" if self.happens(0, directness=2.6) else "indirect"

    # sentences

    def say(self, pattern: str, **slots: str) -> str:
        """Fill in a sentence pattern, and replace words to match the response's register (formal or casual)."""
        text = pattern.format(task=self.topic.task, doing=self.topic.doing, goal=self.topic.goal, **slots)
        if self.happens(0, formality=-2.0):
            text = _substitute(text, "contractions")
        register = self.register()
        if register != "neutral":
            text = _substitute(text, f"{register}_words")
        return _capitalise(text)

    def remark(self, pool: str, **slots: str) -> str:
        return self.say(self.phrase(pool, self.register()), **slots)

    def point(self, imperative: str, reason: str) -> str:
        pattern = self.phrase("tip", self.manner(), self.register())
        if self.happens(-0.7, length=0.8, quality=1.0) and pattern.endswith("."):
            pattern = pattern[:-1] + self.phrase("reason", self.register()) + "."
        if not pattern.endswith("?") and self.happens(-2.2, hedging=2.0):
            pattern = f"{self.phrase('hedge_word')}, {_decapitalise(pattern)}"
        text = self.say(pattern, imp=imperative, reason=reason)
        if self.happens(-2.0, length=1.3, quality=0.8):
            text += " " + self.say(self.phrase("more"))
        return text

    # parts of a response

    def points(self) -> list[str]:
        """Return the advice: specific in a good response, vague or off-topic in a poor one."""
        n = int(np.clip(round(4.0 + 2.2 * self.traits["length"] + 0.3 * self.rng.standard_normal()), 1, 9))
        points = self.direct_reply() if self.happens(2.0, quality=2.0) else []
        for tip in self.tips[: max(n - len(points), 0 if points else 1)]:
            if self.happens(1.2, quality=2.4):
                points.append(self.point(*tip))
            elif self.happens(-1.8):  # off-topic: a tip of a random topic
                points.append(self.point(*_pick(_pick(topics(), self.rng).tips, self.rng)))
            else:
                points.append(self.say(self.phrase("vague")))
        if self.happens(-1.8, hedging=-1.8):
            points[-1] += " " + self.remark("sure")
        if self.happens(-2.2, humour=-1.8):
            points[0] += " " + self.remark("sober")
        return points

    def direct_reply(self) -> list[str]:
        """Return the sentences that respond directly to the question; an empty list if it asks for general advice."""
        topic, kind = self.topic, self.question.kind
        if kind == "choice":
            better, other, on_better, on_other = topic.choice
            verdict = self.say(self.phrase("verdict", self.manner()), a=better, b=other)
            sides = [on_better, on_other] if self.traits["length"] > -0.8 else [on_better]
            return [verdict, self.say("; ".join(sides) + ".")]
        if kind == "trouble":
            cause = self.say(self.phrase("cause", self.manner()), cause=topic.trouble[1])
            return [cause, self.say(self.phrase("tip", self.manner(), self.register()), imp=topic.trouble[2])]
        if kind == "why":
            return [self.say(self.phrase("because", self.manner()), reason=topic.tips[self.question.tip][1])]
        if kind == "mistakes":
            return self.pitfalls(2 + self.happens(0.0))
        return []

    def warnings(self) -> list[str]:
        if self.question.kind == "mistakes" or not self.happens(-1.2, length=1.4):
            return []
        return self.pitfalls(1 + self.happens(0, length=1.0))

    def pitfalls(self, n: int) -> list[str]:
        return [self.remark("pitfall", pit=pitfall) for pitfall in self.topic.pitfalls[:n]]

    def opening(self) -> list[str]:
        sentences = [self.remark("warm_open")] if self.happens(-0.2, warmth=2.6) else []
        if self.happens(-0.3, directness=-2.4, length=0.4):
            sentences.append(self.remark("background"))
        elif self.question.kind in ("how", "start", "plan") and self.happens(-0.3, directness=2.4):
            sentences.append(self.remark("lead", imp=self.tips.pop()[0]))
        return sentences

    def notes(self) -> list[str]:
        """Return examples, jokes, hedges and encouragement, in random order."""
        sentences = []
        slots = {"imp": _pick(self.topic.tips, self.rng)[0], "pit": _pick(self.topic.pitfalls, self.rng)}
        for threshold in (-0.6, 1.2, 3.0):
            if self.happens(-threshold, examples=2.6):
                example = self.fresh(self.topic.examples * 3 + _read("phrases")["anecdote"])
                sentences.append(self.remark("example", ex=example.format(goal=self.topic.goal, **slots)))
            if self.happens(-threshold - 0.3, humour=2.6):
                quip = self.say(self.fresh(self.topic.quips * 3 + _read("phrases")["quip"]))
                sentences.append(f"({quip})" if self.happens(-0.5) else quip)
            if self.happens(-threshold - 0.5, hedging=2.6):
                sentences.append(self.remark("hedge"))
            if self.happens(-threshold - 1.0, warmth=2.6):
                sentences.append(self.remark("warm_mid"))
        return [sentences[i] for i in self.rng.permutation(len(sentences))]

    def closing(self) -> list[str]:
        if self.happens(-0.8, warmth=2.6):
            return [self.remark("warm_close")]
        return [self.remark("end")] if self.happens(-1.2, length=0.7) else []

    # layout

    def lay_out(
        self, opening: list[str], points: list[str], warnings: list[str], notes: list[str], closing: list[str]
    ) -> str:
        level = self.traits["structure"] + 0.35 * self.rng.standard_normal()
        if level < 0.35:  # running text
            points = [self.in_order(number, point) for number, point in enumerate(points)]
            paragraphs = [opening + points, warnings + notes, closing]
            blocks = [" ".join(paragraph) for paragraph in paragraphs if paragraph]
            return (" " if level < -0.4 else "\n\n").join(blocks)
        headings = level > 1.1
        blocks = [" ".join(opening), *self.section("tips", points, headings)]
        blocks += self.section("pitfalls", warnings, headings or bool(warnings))
        blocks += [self.heading("extra")] if headings and len(notes) > 1 else []
        return "\n\n".join(block for block in [*blocks, " ".join(notes), " ".join(closing)] if block)

    def section(self, name: str, items: list[str], with_heading: bool) -> list[str]:
        if not items:
            return []
        numbered = name == "tips" and len(items) > 1 and self.happens(0.3)
        lines = "\n".join(f"{f'{number}.' if numbered else '-'} {item}" for number, item in enumerate(items, 1))
        return [self.heading(name), lines] if with_heading else [lines]

    def heading(self, name: str) -> str:
        title = self.phrase("heading", name)
        return f"## {title}" if self.traits["structure"] > 1.4 else f"**{title}**"

    def in_order(self, number: int, point: str) -> str:
        """Put "First" or another ordering word before a sentence, or leave the sentence unchanged."""
        if not self.happens(-1.6, structure=0.6):
            return point
        return f"{'First' if number == 0 else self.phrase('order')}, {_decapitalise(point)}"


def _pick(pool: Sequence[T], rng: np.random.Generator) -> T:
    """Draw one element; several times faster than `Generator.choice` on short sequences."""
    return pool[int(rng.random() * len(pool))]


@cache
def _pattern(name: str) -> re.Pattern[str]:
    # A space or comma must follow, so that "it is." at the end of a sentence and "children's" are not replaced.
    return re.compile(r"\b(" + "|".join(map(re.escape, _read("phrases")[name])) + r")\b(?=[ ,])", re.IGNORECASE)


def _substitute(text: str, name: str) -> str:
    """Replace words by their entries in the table `name`, for instance "contractions"; keep a capital first letter."""
    words = {key.lower(): value for key, value in _read("phrases")[name].items()}

    def replacement(match: re.Match[str]) -> str:
        new: str = words[match[0].lower()]
        return _capitalise(new) if match[0][0].isupper() else new

    return _pattern(name).sub(replacement, text)


def _capitalise(text: str) -> str:
    """Make the first letter a capital and leave the rest unchanged."""
    return text[:1].upper() + text[1:]


def _decapitalise(text: str) -> str:
    return text if text.startswith(("I ", "I'")) else text[:1].lower() + text[1:]
