"""Only containers and tensors are read from a pickle, and none of its code runs."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch

from lorerm.embedding.external.safe_pickle import load_pickle
from lorerm.errors import DataError
from refusals import refused

CONTENT = {
    "worker": [{"text": "Ünal", "embeddings": {"winning": [torch.arange(4.0).bfloat16()], "n": (1, 2.5, None, True)}}],
    "ordered": OrderedDict(a=1),
    "by default": defaultdict(list, {"k": [torch.ones(2, 3)]}),
    "set": {1, 2},
}


def dump(path, content, protocol=pickle.DEFAULT_PROTOCOL):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_containers_and_tensors_come_back(tmp_path, protocol):
    found = load_pickle(dump(tmp_path / "good.pkl", CONTENT, protocol))
    tensor = found["worker"][0]["embeddings"]["winning"][0]
    assert tensor.dtype == torch.bfloat16
    assert tensor.tolist() == [0, 1, 2, 3]
    assert found["ordered"] == {"a": 1}
    assert torch.equal(found["by default"]["k"][0], torch.ones(2, 3))


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_save(tmp_path, zipped):
    torch.save([{"e": torch.ones(3)}], tmp_path / "saved.pkl", _use_new_zipfile_serialization=zipped)
    if zipped:
        assert load_pickle(tmp_path / "saved.pkl")[0]["e"].tolist() == [1, 1, 1]
    else:
        with refused(DataError, "more bytes after the first object", file=str(tmp_path / "saved.pkl")):
            load_pickle(tmp_path / "saved.pkl")


class Runs:
    """Leaves a file where it is unpickled."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize(
    "call", [os.system, eval, exec, os.mkdir, getattr, __import__, torch.load, torch.hub.load, np.load, open, map]
)
def test_malicious_pickle_is_refused_and_does_nothing(tmp_path, call):
    """Any function, at any depth, after any number of good entries."""
    mark = tmp_path / "mark"
    arguments = {os.system: f"touch {mark}", os.mkdir: str(mark)}.get(call, f"open({str(mark)!r}, 'w')")
    path = dump(tmp_path / "bad.pkl", {**CONTENT, "deep": [{"er": Runs(call, arguments)}]})
    with refused(DataError, f".{call.__name__}", file=str(path)):
        load_pickle(path)
    assert not mark.exists()


def test_malicious_pickle_inside_a_tensors_numbers_is_refused(tmp_path):
    """The numbers of a tensor are a pickle of their own, which torch would read without limits."""
    mark = tmp_path / "mark"
    inner = pickle.dumps(Runs(os.mkdir, str(mark)))
    path = dump(tmp_path / "bad.pkl", Runs(torch.storage._load_from_bytes, inner))
    with refused(DataError, file=str(path)):
        load_pickle(path)
    assert not mark.exists()


def test_malicious_file_of_torch_save_is_refused(tmp_path):
    mark = tmp_path / "mark"
    torch.save([Runs(os.mkdir, str(mark))], tmp_path / "bad.pkl")
    with refused(DataError, "posix.mkdir", file=str(tmp_path / "bad.pkl")):
        load_pickle(tmp_path / "bad.pkl")
    assert not mark.exists()


def test_names_with_dots_reach_no_further(tmp_path):
    """Protocol 4 looks names up through attributes: `builtins.list.__class__` would be `type`."""
    body = b"\x80\x04\x8c\x08builtins\x8c\x0elist.__class__\x93."
    (tmp_path / "bad.pkl").write_bytes(body)
    with refused(DataError, "builtins.list.__class__", file=str(tmp_path / "bad.pkl")):
        load_pickle(tmp_path / "bad.pkl")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x05", pickle.dumps([1])[:-2]])
def test_damaged_pickle_is_one_line(tmp_path, content):
    (tmp_path / "cut.pkl").write_bytes(content)
    with refused(DataError, file=str(tmp_path / "cut.pkl")):
        load_pickle(tmp_path / "cut.pkl")


def test_missing_file_is_one_line(tmp_path):
    with refused(DataError, file=str(tmp_path / "none.pkl")):
        load_pickle(tmp_path / "none.pkl")
