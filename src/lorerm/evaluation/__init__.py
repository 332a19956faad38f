"""Evaluation of models on the four splits: accuracies, controls, and differences with intervals, as a report."""
