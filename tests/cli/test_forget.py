"""`lorerm forget`."""


def test_forgotten_users_are_unknown_afterwards(lorerm, refuses, run):
    outcome = lorerm("forget", run, "--user", "user-00", "user-05")
    assert outcome.code == 0, outcome
    assert outcome.out.startswith("Forgot 2 users with ")
    assert "holds nothing of user 'user-00'" in refuses("forget", run, "--user", "user-00")
    assert lorerm("report", run).code == 0
    assert "user 'user-05' is unknown" in refuses("score", run, "--user", "user-05", "--data", run / "manifest.json")
