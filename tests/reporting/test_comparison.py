"""Runs side by side in the terminal."""

from __future__ import annotations

from rich.console import Console

from lorerm.reporting.comparison import console_comparison

CELL = {"mean": 0.7, "stderr": 0.01, "stderr_two_way": 0.012, "ci95": [0.67, 0.73]}
CELLS = {"train_seen": CELL, "test_seen": CELL, "train_unseen": None, "test_unseen": None}


def shown(comparison):
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    for table in console_comparison(comparison):
        console.print(table)
    console.file.close()
    return console.export_text()


def run(name):
    return {"name": name, "source": "x.jsonl", "encoder": None, "recipe": "paper", "chosen_rank": 3, "cells": CELLS}


def test_runs_and_differences():
    row = {
        "run": "b",
        "against": "a",
        "cell": "test_seen",
        "mean": 0.02,
        "ci95": [0.01, 0.03],
        "n_users": 9,
        "n_pairs": 90,
    }
    text = shown({"runs": [run("a"), run("b [bold]")], "paired": [row]})
    assert "70.0 ± 1.0" in text
    assert "recipe paper" in text
    assert "b [bold]" in text
    assert "+1.0 to +3.0" in text
    assert "unseen" not in text
    assert "nothing is paired" not in text


def test_strangers_are_not_paired():
    text = shown({"runs": [run("a"), run("b")], "paired": []})
    assert "minus" not in text
    assert "nothing is paired" in text
