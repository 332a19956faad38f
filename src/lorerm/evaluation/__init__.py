"""Evaluation: accuracy in the four cells, the controls beside it, and how sure one can be of the differences."""
