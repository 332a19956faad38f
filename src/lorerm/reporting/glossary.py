"""Terms that the report uses, with their explanations."""

from __future__ import annotations

_TERMS = {
    "comparison": "One row of the data: a user preferred one of two responses to a prompt.",
    "accuracy": "The share of a user's comparisons in which the model gives the preferred response the higher reward; "
    "a tie (the same reward for both) counts one half. Every user counts once, however many comparisons they gave.",
    "percentage point": "The unit of a difference of two percentages: from 70% to 71% is +1 point.",
    "personal ranking, personal weights": "The model has a few reward directions that all users share. Each user has "
    "one weight per direction, and the weighted sum of the directions ranks the responses for that user.",
    "rank (K)": "The number of reward directions.",
    "one ranking for everybody, population model": "The reward directions of the same rank with the population "
    "weights: what the model assumes of a user without feedback.",
    "single Bradley-Terry model (K = 1)": "A second model with one ranking for everybody: a single reward direction, "
    "fitted to the training comparisons of all seen users without personal weights.",
    "reference head (K = 0)": "The linear head of the reward model that made the embeddings: one ranking for "
    "everybody, not fitted to these data.",
    "another user's weights": "A control: the responses are ranked for each user with the weights of another user. If "
    "this is as accurate as ranking with the user's own weights, the weights are not personal.",
    "seen users": "Users whose comparisons on train prompts trained the model.",
    "unseen users": "Users whose comparisons did not train the reward directions. Only their weights are fitted, to "
    "their few-shot comparisons.",
    "few-shot comparisons, few-shot prompts": "The comparisons that an unseen user's weights are fitted to, and their "
    "prompts, which are train prompts.",
    "train prompts, test prompts": "Comparisons on train prompts are used in training; those on test prompts only "
    "measure the result. No prompt is both.",
    "split": "One of the four parts of the data: seen or unseen users, train or test prompts.",
    "standard error": "The typical distance between a mean over some users and the mean over all users of that kind.",
    "95% interval": "The range in which the mean over all users and prompts of the same kind is expected: about 95 of "
    "100 such intervals contain it. For a difference, both models are measured on the same comparisons, so that its "
    "interval is narrower than the intervals of the two accuracies suggest.",
    "too few users to tell": "The 95% interval of a difference contains 0: the data show neither a gain nor a loss. "
    "More users make the interval narrower.",
    "personal axis": "A direction along which users' rewards differ, after the part that all users share is removed.",
    "seed": "The number that starts all random choices: which users and prompts are held out, and how training starts. "
    "Other seeds show how much these choices matter.",
    "leak": "A property other than the words, such as length or format, that reveals the preferred response. "
    "If there is a leak, a high accuracy means little.",
}

GLOSSARY = tuple(_TERMS.items())
"""Pairs of a term and its explanation, in the order of their use in the report."""
