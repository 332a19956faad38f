"""Training and adaptation: the objective, the recipes, selection on validation pairs."""
