"""Questions of the simulated population: everyday prompts about the topics of ``simulated_topics.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

T = TypeVar("T")

KINDS = ("how", "plan", "start", "mistakes", "choice", "trouble", "why")
"""The kinds of question asked about every topic."""


@dataclass(frozen=True)
class Topic:
    """What is known about one everyday subject: the facts that prompts and responses are made of."""

    task: str
    """The subject as an imperative: "bake sourdough bread"."""
    doing: str
    """The subject as a gerund."""
    goal: str
    """What success looks like, as a noun phrase."""
    tips: list[tuple[str, str]]
    """Seven pairs of an imperative and its reason."""
    pitfalls: list[str]
    """Mistakes, as gerunds."""
    choice: tuple[str, str, str, str]
    """The better option, the other one, and a clause on each."""
    trouble: tuple[str, str, str]
    """A symptom, its cause, and the cure as an imperative."""
    examples: list[str]
    """Concrete cases, as clauses."""
    quips: list[str]
    """Jokes, as whole sentences."""


@dataclass(frozen=True)
class Question:
    """One prompt, with what is needed to answer it."""

    prompt_id: str
    text: str
    kind: str
    """One of `KINDS`."""
    topic: Topic
    tip: int
    """The tip that a "why" question is about."""


@cache
def _read(name: str) -> Any:  # noqa: ANN401 - whatever the JSON file holds
    return json.loads(files(__package__).joinpath(f"simulated_{name}.json").read_text(encoding="utf-8"))


@cache
def phrases() -> Any:  # noqa: ANN401 - pools of patterns, nested by manner and register
    """Return the pools of sentence patterns."""
    return _read("phrases")


@cache
def topics() -> tuple[Topic, ...]:
    """Return the subjects, in the order of the file."""
    return tuple(Topic(**entry) for entry in _read("topics"))


def ask_questions(rng: np.random.Generator) -> tuple[Question, ...]:
    """Ask every kind of question about every topic.

    Parameters
    ----------
    rng
        Chooses the wording.

    Returns
    -------
    tuple of Question
        Ids are "prompt-000", ... in a shuffled order of topics and kinds.
    """
    cases = [(topic, kind) for topic in topics() for kind in KINDS]
    questions = []
    for number, case in enumerate(rng.permutation(len(cases))):
        topic, kind = cases[case]
        tip = int(rng.random() * len(topic.tips))
        options = topic.choice[:2] if rng.random() < 0.5 else topic.choice[1::-1]
        slots = {"a": options[0], "b": options[1], "imp": topic.tips[tip][0], "symptom": topic.trouble[0]}
        text = str(pick(phrases()["prompts"][kind], rng)).format(task=topic.task, doing=topic.doing, **slots)
        questions.append(Question(f"prompt-{number:03d}", capitalise(text), kind, topic, tip))
    return tuple(questions)


def pick(pool: Sequence[T], rng: np.random.Generator) -> T:
    """Draw one element; several times faster than `Generator.choice` on short sequences."""
    return pool[int(rng.random() * len(pool))]


def capitalise(text: str) -> str:
    """Make the first letter a capital and leave the rest."""
    return text[:1].upper() + text[1:]
