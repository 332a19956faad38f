"""`lorerm users`: what a server's database holds, from the command line."""

from __future__ import annotations

import numpy as np
import pytest

from lorerm.errors import ConfigError
from lorerm.serving.feedback_store import FeedbackBatch, FeedbackStore, StoredFeedback
from servers import prepared


@pytest.fixture
def url(tmp_path):
    database = prepared(f"sqlite:///{tmp_path / 'a.sqlite'}")
    batch = FeedbackBatch("k", b"", 1, np.ones((1, 3), np.float32), np.ones(1, np.float32))
    FeedbackStore(database, "m" * 32).append("ann", StoredFeedback(), batch)
    database.close()
    return f"sqlite:///{tmp_path / 'a.sqlite'}"


def test_users_go_from_one_database_to_another(lorerm, url, tmp_path):
    assert "1 users, 1 comparisons" in lorerm("users", "list", "--database", url).out
    assert lorerm("users", "export", tmp_path / "users.jsonl", "--database", url).code == 0
    assert lorerm("users", "export", "--database", url).out == (tmp_path / "users.jsonl").read_text()
    other = f"sqlite:///{tmp_path / 'b.sqlite'}"
    assert "Added 1 users" in lorerm("users", "import", tmp_path / "users.jsonl", "--database", other).out
    assert "ann 1" in lorerm("users", "list", "--all-users", "--database", other).out
    assert "Deleted 1 users" in lorerm("users", "purge", "--series", "m" * 32, "--database", other).out
    assert lorerm("users", "list", "--all-users", "--database", other).out == ""
    assert b"ann" not in b"".join(path.read_bytes() for path in tmp_path.glob("b.sqlite*"))


def test_nothing_is_deleted_or_read_that_was_not_named(refuses, url):
    refuses("users", "purge", "--database", url, error=ConfigError, names=["--series"])
    refuses("users", "import", "--database", url, error=ConfigError, names=["file"])
