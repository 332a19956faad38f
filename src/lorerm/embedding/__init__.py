"""Encoders, which compute an embedding for each conversation, and the files of embeddings that `lorerm run` writes."""
