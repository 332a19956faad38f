"""Embedding and adaptation on several processes or machines, through Ray."""
