"""Display names of the baselines that reports and model cards compare a personal reward model with."""

from __future__ import annotations

BASELINES = {
    "shared_direction": "population model",
    "bradley_terry": "single Bradley-Terry (K = 1)",
    "reference_head": "reference head (K = 0)",
    "other_users_weights": "another user's weights",
}
"""The keys are the names in `report.json`. Two baselines are models of rank 1 and 0; the other two are the model itself
with other weights."""
