"""Embed conversations and adapt users in several processes or on several machines, with Ray."""
