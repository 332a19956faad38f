"""Names of what a personal reward model is compared with, in reports and on model cards."""

from __future__ import annotations

BASELINES = {
    "shared_direction": "population model",
    "bradley_terry": "single Bradley-Terry (K = 1)",
    "reference_head": "reference head (K = 0)",
    "other_users_weights": "another user's weights",
}
"""By the names in `report.json`: the models of rank 1 and 0, and the model's own basis with other weights."""
