"""Work in threads: in order, on as many of them as torch had, and torch's own number is what it was afterwards."""

import threading

import pytest
import torch

from lorerm.threads import have_torch_threads, map_in_threads, torch_on_one_thread


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_threads_on_which_torch_has_one():
    together = threading.Barrier(3, timeout=30)  # nobody gets past it alone

    def work(item):
        together.wait()
        return item, torch.get_num_threads()

    assert list(map_in_threads(work, range(6))) == [(item, 1) for item in range(6)]
    assert torch.get_num_threads() == 3


def test_threads_are_those_that_torch_had_before_it_was_given_one():
    with torch_on_one_thread():
        assert torch.get_num_threads() == 1
        together = threading.Barrier(3, timeout=30)
        assert len(list(map_in_threads(lambda _: together.wait(), range(3)))) == 3
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_one_item_stays_on_this_thread():
    """On which torch has one thread for as long, too."""
    found = list(map_in_threads(lambda _: (threading.get_ident(), torch.get_num_threads()), [0]))
    assert found == [(threading.get_ident(), 1)]
    assert torch.get_num_threads() == 3
    assert list(map_in_threads(lambda _: 1 / 0, [])) == []


def test_what_goes_wrong_is_raised_and_torch_has_its_threads_again():
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda item: 1 // item, [1, 0, 1]))
    assert torch.get_num_threads() == 3


def test_a_new_thread_has_the_threads_that_it_was_given_whatever_others_set():
    found = []

    def work():
        have_torch_threads(3)
        other = threading.Thread(target=torch.set_num_threads, args=(1,))
        other.start()
        other.join()
        found.append(torch.get_num_threads())

    new = threading.Thread(target=work)
    new.start()
    new.join()
    assert found == [3]
