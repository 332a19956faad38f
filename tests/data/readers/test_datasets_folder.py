import pytest

from logs import ROWS
from lorerm.data.preferences import Preferences
from lorerm.errors import DataError
from refusals import refused

WANTED = Preferences.from_records(ROWS)


def test_saved_folder(tmp_path):
    WANTED.to_trl().save_to_disk(tmp_path / "saved")
    assert Preferences.from_files(tmp_path / "saved") == WANTED


def test_damaged_folder(tmp_path):
    WANTED.to_trl().save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"rubbish")
    with refused(DataError, file=str(tmp_path / "saved")):
        Preferences.from_files(tmp_path / "saved")


def test_names_of_several_splits_become_the_column_split(tmp_path):
    from datasets import Dataset, DatasetDict

    part = Dataset.from_list([ROWS[0]])
    parts = DatasetDict(train=part, validation=part, test=part)
    parts.save_to_disk(tmp_path / "saved")
    for preferences in (Preferences.from_dataset(parts), Preferences.from_files(tmp_path / "saved")):
        assert preferences.splits.tolist() == ["train", "test", "test"]
    assert Preferences.from_dataset(DatasetDict(train=part)).splits.tolist() == [None]
    with refused(DataError, "'more'", column="split"):
        Preferences.from_dataset(DatasetDict(train=part, more=part))


def test_other_formats_of_a_data_set_are_read_as_python_values():
    assert Preferences.from_dataset(WANTED.to_trl().with_format("numpy")) == WANTED


@pytest.mark.parametrize("value", [ROWS, 3])
def test_value_that_is_no_data_set(value):
    with refused(DataError, type(value).__name__, "datasets.Dataset"):
        Preferences.from_dataset(value)
