import pytest

from lorerm.errors import ConfigError
from lorerm.preferences.datasets import DATASETS, load_dataset
from lorerm.preferences.preferences import Preferences


def test_unknown_name_lists_the_known():
    with pytest.raises(ConfigError, match="'nothing' is not known: choose one of simulated"):
        load_dataset("nothing")


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_loaded_by_its_name(name):
    assert isinstance(load_dataset(name, seed=1), Preferences)
