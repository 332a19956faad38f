"""Preferences as text: the data contract, files and data sets in and out, splits, and the leak check."""
