"""The simulated population: texts show the style they were composed in, and comparisons follow known tastes."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest

from lorerm.data.datasets.simulated import LOW_RELIABILITY, TASTES, Options, SimulatedPopulation, load, simulate
from lorerm.data.datasets.simulated_texts import ATTRIBUTES, KINDS, topics
from lorerm.errors import ConfigError, UnknownUserError
from refusals import refused

DIGEST = """
import hashlib
from lorerm.data.datasets.simulated import simulate
population = simulate(n_users=5, seed=3)
print(hashlib.sha256(repr(population.preferences.table.to_pylist()).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def population() -> SimulatedPopulation:
    return simulate(n_users=200, seed=0)


def column(population: SimulatedPopulation, attribute: str) -> np.ndarray:
    index = ATTRIBUTES.index(attribute)
    return np.array([response.style[index] for response in population.responses])


def per_response(population: SimulatedPopulation, pattern: str) -> np.ndarray:
    """Count the matches of a pattern in each response."""
    return np.array([len(re.findall(pattern, response.text, re.MULTILINE)) for response in population.responses])


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_same_bytes_whatever_the_hash_seed(hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run(
        [sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True
    ).stdout
    here = repr(simulate(n_users=5, seed=3).preferences.table.to_pylist())
    assert printed.strip() == hashlib.sha256(here.encode()).hexdigest()


def test_texts_are_those_that_documented_figures_were_measured_on(population):
    texts = [(response.prompt_id, response.prompt, response.text) for response in population.responses]
    assert hashlib.sha256(repr(texts).encode()).hexdigest().startswith("2c29686c28cba4fd")


def test_seeds_differ():
    one, other = simulate(n_users=2, seed=0), simulate(n_users=2, seed=1)
    assert one.responses[0].text != other.responses[0].text
    assert not np.allclose(one.tastes, other.tastes)


def test_texts_do_not_depend_on_the_number_of_users(population):
    few = simulate(n_users=2, seed=0)
    assert [r.text for r in few.responses] == [r.text for r in population.responses]


def test_no_global_random_state():
    np.random.seed(1)  # noqa: NPY002 - the legacy state is what is under test
    first = simulate(n_users=2, seed=0)
    np.random.seed(2)  # noqa: NPY002
    assert first.preferences.table.equals(simulate(n_users=2, seed=0).preferences.table)


def test_load_has_300_users_and_the_same_texts(population):
    preferences = load(Options()).preferences
    assert len(set(preferences.user_ids)) == 300
    texts = {r.text for r in population.responses}
    assert preferences.conversations("chosen")[0][-1]["content"] in texts


def test_preferences_are_the_comparisons(population):
    """Rows of the preferences and of the truth are the same comparisons, of two responses to one prompt."""
    preferences, prompt_ids = population.preferences, population.preferences.prompt_ids
    assert len(preferences) == len(population.chosen) == len(population.rejected) == len(population.true_margin)
    sides = zip(preferences.conversations("chosen"), preferences.conversations("rejected"), strict=True)
    for row, (chosen, rejected) in enumerate(sides):
        better, worse = population.responses[population.chosen[row]], population.responses[population.rejected[row]]
        assert chosen[0]["content"] == better.prompt == worse.prompt
        assert chosen[-1]["content"] == better.text != rejected[-1]["content"] == worse.text
        assert prompt_ids[row] == better.prompt_id == worse.prompt_id


def test_one_prompt_one_id(population):
    ids = defaultdict(set)
    for response in population.responses:
        ids[response.prompt].add(response.prompt_id)
    assert all(len(names) == 1 for names in ids.values())
    assert len(ids) == len(topics()) * len(KINDS)


def test_no_user_sees_a_prompt_twice(population):
    seen = list(zip(population.preferences.user_ids, population.preferences.prompt_ids, strict=True))
    assert len(set(seen)) == len(seen)


def test_number_of_comparisons_per_user_varies(population):
    counts = np.unique(population.preferences.user_ids, return_counts=True)[1]
    assert len(counts) == 200
    assert counts.min() >= 8
    assert counts.max() <= 200
    assert 45 < np.median(counts) < 75
    assert np.quantile(counts, 0.9) > 3 * np.quantile(counts, 0.1)


def test_responses_are_distinct_and_clean(population):
    texts = [response.text for response in population.responses]
    assert len(set(texts)) >= 0.95 * len(texts)
    for text in texts:
        assert len(text.split()) >= 3
        assert not re.search(r"[{}]|\.\.|  |None|\ba (?!one)[aeio]\w", text), text


def test_facts_are_complete():
    """Every topic has what the composer draws on, in the form that its sentence patterns need."""
    for topic in topics():
        assert len(topic.tips) == 7, topic.task
        assert len(topic.choice) == 4
        assert topic.choice[2].startswith(topic.choice[0]), topic.choice
        clauses = [*topic.pitfalls, *topic.examples, *(clause for tip in topic.tips for clause in tip)]
        assert not any(clause.endswith(".") for clause in clauses), topic.task
        assert all(quip.endswith((".", "?")) for quip in topic.quips), topic.task


@pytest.mark.parametrize(
    ("attribute", "pattern", "at_least"),
    [
        ("length", r"\w+", 0.7),
        ("structure", r"^(- |\d\. )", 0.5),
        ("structure", r"\*\*|##", 0.5),
        ("formality", r"n't|'s\b|'re|'ll|'d ", -0.4),
        ("hedging", r"(?i)depends|perhaps|probably|exceptions|possibly|wrong|not certain|may be different", 0.4),
        ("directness", r"(?i)could|option|possibility|find it useful|can help|advisable|might", -0.25),
        ("examples", r"(?i)for example|for instance|true story|picture|illustration|one case", 0.35),
        ("warmth", r"(?i)proud|joy|wish|glad|lovely|kind to|deserve|root|hope|love", 0.4),
        ("humour", r"\(\w", 0.3),
    ],
)
def test_attributes_show_in_the_text(population, attribute, pattern, at_least):
    """Surface counts move with the latent attribute (against it where the bound is negative), though through noise."""
    correlation = np.corrcoef(column(population, attribute), per_response(population, pattern))[0, 1]
    assert correlation * np.sign(at_least) > abs(at_least)
    assert abs(correlation) < 0.95


def test_list_markup_needs_structure(population):
    marked = per_response(population, r"^(- |\d\. )") > 0
    structure = column(population, "structure")
    assert marked[structure > 1.2].mean() > 0.95
    assert marked[structure < -0.8].mean() == 0


def test_quality_is_specific(population):
    """Poor responses are vague far more often than good ones."""
    vague = per_response(
        population, r"Some things work|Everything has its|the proper method|various factors|all of the"
    )
    quality = np.array([response.quality for response in population.responses])
    assert vague[quality < -1].mean() > 5 * vague[quality > 1].mean()


def test_tastes_are_mixtures(population):
    assert population.tastes.shape == (200, len(TASTES))
    np.testing.assert_allclose(population.tastes.sum(axis=1), 1)
    assert (population.tastes >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(population.profiles, axis=1), 1)
    assert np.median(population.tastes.max(axis=1)) > 0.5  # one or two tastes dominate for most users
    assert len(set(population.tastes.argmax(axis=1))) == len(TASTES)


def test_noise_level(population):
    """The true utilities agree with about 87% of the comparisons, and with far fewer of unreliable users."""
    assert 0.85 < population.upper_bound < 0.89
    reliability = dict(zip(population.user_ids, population.reliability, strict=True))
    factors = np.array([reliability[user] for user in population.preferences.user_ids])
    assert set(reliability.values()) == {LOW_RELIABILITY, 1.0}
    assert 0 < (population.reliability < 1).mean() < 0.08
    right = population.true_margin > 0
    assert right[factors < 1].mean() < right[factors == 1].mean() - 0.1
    expected = 1 / (1 + np.exp(-np.abs(population.true_margin) * factors))
    assert abs(right.mean() - expected.mean()) < 0.01


def test_true_rewards_give_the_margins(population):
    users = np.asarray(population.preferences.user_ids)
    for user_id in population.user_ids[:5]:
        rewards = population.true_rewards(user_id)
        margins = rewards[population.chosen] - rewards[population.rejected]
        np.testing.assert_allclose(margins[users == user_id], population.true_margin[users == user_id])


def test_personal_taste_matters(population):
    """Quality alone, which all users value alike, predicts far fewer comparisons than the personal utilities."""
    quality = np.array([response.quality for response in population.responses])
    common = np.mean(quality[population.chosen] > quality[population.rejected])
    assert 0.62 < common < 0.74


def test_taste_in_words(population):
    for user_id, taste in zip(population.user_ids, population.tastes, strict=True):
        words = population.taste_of(user_id).split(", ")
        assert words[0] == list(TASTES)[taste.argmax()]
        assert set(words) <= set(TASTES)
        assert len(words) == max(1, np.sum(taste >= 0.15))


def test_unknown_user(population):
    with refused(UnknownUserError, "annotator-999", "annotator-000", "annotator-199", argument="user_id"):
        population.taste_of("annotator-999")


def test_population_is_read_only(population):
    for array in (population.tastes, population.true_margin, population.responses[0].style):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(
    ("arguments", "named"), [({"n_users": 0}, "n_users"), ({"median_comparisons": 5}, "median_comparisons")]
)
def test_arguments_out_of_range(arguments, named):
    with refused(ConfigError, argument=named):
        simulate(**arguments)
