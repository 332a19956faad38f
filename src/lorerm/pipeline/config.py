"""How a run splits its data. The docstring under each attribute is the help text of its option."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SplitConfig:
    """How people and prompts are held out."""

    unseen_users: float = 0.3
    """share of the users who are held out as people never seen, in [0, 1)"""
    test_prompts: float = 0.3
    """share of the prompts that are held out, in (0, 1)"""
    seed: int = 0
    """seed of the split; in `lorerm run` of the training too"""
    max_pairs_seen: int | None = 150
    """most training pairs of a seen user"""
    max_pairs_unseen: int | None = 50
    """most few-shot pairs of an unseen user"""
