"""Encoders, which compute an embedding for each conversation, and the embeddings in a run folder."""
