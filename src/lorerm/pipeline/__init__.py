"""The run folder (data, models and results of one run), and the steps of a run, from the input to the report."""
