"""Evaluation of models: accuracies, differences from baselines with confidence intervals, and the report of them.

Everything is measured on four splits: the train and the test prompts of seen users (in the training data) and of unseen
users (held out of it).
"""
