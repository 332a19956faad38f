"""The run folder, and the steps from comparisons to a report: the only room that knows their order."""
