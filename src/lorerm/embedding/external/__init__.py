"""Readers for files of embeddings that other programs computed."""
