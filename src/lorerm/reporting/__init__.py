"""What an evaluation found, for people to read: sentences, tables, figures and one self-contained page.

The only input is the report, one plain dict whose schema ``docs/report.md`` describes; this wing sees neither vectors
nor models.
"""
