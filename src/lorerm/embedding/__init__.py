"""Conversations to vectors: the encoders, and the store of responses and comparisons."""
