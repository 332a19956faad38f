"""Comparisons as text: the rules for input rows, readers of files and data sets, splits, and the leak check."""
