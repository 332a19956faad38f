"""RewardBench 2: its rows, the right completions first."""

from __future__ import annotations

import numpy as np
import pytest

from lorerm.data.datasets.reward_bench_2 import load
from lorerm.errors import DataError
from published_samples import rewardbench_rows, write_jsonl, write_parquet


def test_rows_as_the_hub_has_them(tmp_path):
    rows = rewardbench_rows(np.random.default_rng(0))
    prompts, source = load(write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows).parent)
    assert len(prompts) == len(rows) == 21
    assert source == str(tmp_path / "data")
    assert list(dict.fromkeys(prompt.subset for prompt in prompts)) == [
        "Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties"
    ]  # fmt: skip
    for prompt, row in zip(prompts, rows, strict=True):
        assert list(prompt.completions) == row["chosen"] + row["rejected"]
        assert prompt.n_correct == row["num_correct"]


@pytest.mark.parametrize("change", [{"chosen": []}, {"rejected": None}, {"chosen": "one"}, {"rejected": [3]}])
def test_row_without_completions_is_named(tmp_path, change):
    first, *others = rewardbench_rows(np.random.default_rng(0))
    with pytest.raises(DataError, match="row 1: chosen and rejected are not both lists"):
        load(write_jsonl(tmp_path / "test.jsonl", [{**first, **change}, *others]))
