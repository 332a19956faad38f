"""Renderers of the evaluation report: Markdown, terminal, HTML page and figures; they compute nothing."""
