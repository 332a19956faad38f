"""Readers of feedback logs: one file per format."""
