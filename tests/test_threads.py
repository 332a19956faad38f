"""Results of threads are in order, torch's number of threads is used, and it is restored afterwards."""

import threading

import pytest
import torch

from lorerm.threads import map_in_threads, set_torch_threads, torch_on_one_thread


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_are_in_order_and_each_thread_has_one_torch_thread():
    together = threading.Barrier(3, timeout=30)  # passed only by three threads at once

    def work(item):
        together.wait()
        return item, torch.get_num_threads()

    assert list(map_in_threads(work, range(6))) == [(item, 1) for item in range(6)]
    assert torch.get_num_threads() == 3


def test_number_of_threads_is_the_one_that_torch_had_before():
    with torch_on_one_thread():
        assert torch.get_num_threads() == 1
        together = threading.Barrier(3, timeout=30)
        assert len(list(map_in_threads(lambda _: together.wait(), range(3)))) == 3
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_single_item_runs_on_this_thread():
    """Meanwhile torch has one thread here, too."""
    found = list(map_in_threads(lambda _: (threading.get_ident(), torch.get_num_threads()), [0]))
    assert found == [(threading.get_ident(), 1)]
    assert torch.get_num_threads() == 3
    assert list(map_in_threads(lambda _: 1 / 0, [])) == []


def test_error_is_raised_and_torch_has_its_threads_again():
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda item: 1 // item, [1, 0, 1]))
    assert torch.get_num_threads() == 3


def test_number_of_torch_threads_of_a_new_thread_is_its_own():
    found = []

    def work():
        set_torch_threads(3)
        other = threading.Thread(target=torch.set_num_threads, args=(1,))
        other.start()
        other.join()
        found.append(torch.get_num_threads())

    new = threading.Thread(target=work)
    new.start()
    new.join()
    assert found == [3]
