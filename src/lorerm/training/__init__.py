"""Training of reward models and adaptation to new users: objectives, recipes (training methods), choice of settings."""
