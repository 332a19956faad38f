"""The run folder, and the steps of a run: prepare, embed, train, further seeds, few-shot curve, report."""
