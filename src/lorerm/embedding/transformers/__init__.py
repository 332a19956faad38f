"""The encoder for language models and reward models that the transformers library loads."""
