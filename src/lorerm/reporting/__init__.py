"""Renderers of the evaluation report as Markdown, terminal output, HTML and figures; they compute no results."""
