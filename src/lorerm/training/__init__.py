"""Training and adaptation: objectives, recipes, and the choice of settings on a validation split."""
