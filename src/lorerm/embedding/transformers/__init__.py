"""The encoder for language models and reward models, which are loaded with the transformers library."""
