"""Comparisons as text: the rules for input rows, readers of files and data sets, and splits.

The room also has the leak check, which measures whether length or format alone reveals the chosen response.
"""
