"""Embeddings of language and reward models that the transformers library loads."""
