"""The terms of the report, explained for a reader who meets them for the first time."""

from __future__ import annotations

GLOSSARY = (
    (
        "accuracy",
        "The share of a user's pairs in which the chosen answer gets the higher reward; a tie counts as wrong. "
        "Every user counts once, however many pairs they gave.",
    ),
    (
        "rank, K",
        "The number of reward directions that all users share. A person is K weights on them.",
    ),
    (
        "reference head (K = 0)",
        "The frozen reward model's own scoring vector: the same for everybody, and fitted to nobody here.",
    ),
    (
        "one Bradley-Terry direction (K = 1)",
        "One scoring vector for everybody, fitted to the training pairs of all seen users.",
    ),
    (
        "shared direction",
        "A rank's directions with the average weights: what the model says before it knows the person.",
    ),
    (
        "another user's weights",
        "Every user scored with somebody else's weights. If that does as well, the weights are not personal.",
    ),
    (
        "seen users",
        "People whose pairs trained the directions.",
    ),
    (
        "unseen users",
        "People for whom only weights were fitted, from their few-shot pairs, while the directions stayed fixed.",
    ),
    (
        "few-shot prompts",
        "The prompts whose pairs an unseen user's weights are fitted to. No prompt is on both sides of train and test.",
    ),
    (
        "standard error, 95% interval",
        "How far a mean would move with other people, and in the interval with other prompts too, of the same kind. "
        "Differences are paired within people and prompts, so their intervals are narrower than those of the two "
        "accuracies.",
    ),
    (
        "shots",
        "The number of answers that a new person's weights are fitted to.",
    ),
    (
        "personal axis",
        "A way in which people differ beside the shared direction: one of the axes that their rewards spread along.",
    ),
    (
        "seed",
        "What decides who and what is held out, and the fit's random numbers. Other seeds show how much that matters.",
    ),
    (
        "percentage point",
        "The unit of a difference of two percentages: from 70% to 71% is +1 point.",
    ),
    (
        "leak",
        "A way to tell the chosen answer without reading it, by its length or its format. "
        "High accuracies then mean little.",
    ),
)
"""Terms and explanations, in the order in which a reader meets them."""
