"""Display names of the baselines with which reports and model cards compare a personal reward model.

- The population model gives every user the weights of a user without comparisons (the prior mean).
- The single Bradley-Terry model has one reward direction for all users.
- The reference head is the linear head that the encoder's own reward model already has.
"""

from __future__ import annotations

BASELINES = {
    "shared_direction": "population model",
    "bradley_terry": "single Bradley-Terry (K = 1)",
    "reference_head": "reference head (K = 0)",
    "other_users_weights": "another user's weights",
}
"""The keys are the names in `report.json`. Two baselines are models of rank 1 and 0; the other two are the model itself
with other weights."""
