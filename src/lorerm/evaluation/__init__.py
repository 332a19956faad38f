"""Evaluation of models on the four splits: accuracies, controls, differences with intervals, and the report of them."""
