"""The run folder and the steps from preferences to a report: the only place that knows their order."""
