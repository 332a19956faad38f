"""How tests check an error: by its type and its fields, not by its English sentence."""

from contextlib import contextmanager

import pytest

from lorerm.errors import LorermError


@contextmanager
def refused(error: type[LorermError], *names: str, **location: object):
    """Expect an error of exactly this type, one line long, with a remedy.

    Parameters
    ----------
    error
        The type.
    *names
        Names and numbers of the input (ids, paths, values) that the message must contain: no words of its sentence.
    **location
        Fields of `lorerm.errors.Location` with the values that they must have.
    """
    with pytest.raises(error) as caught:
        yield caught
    raised = caught.value
    assert type(raised) is error
    assert raised.problem
    assert raised.remedy
    assert "\n" not in str(raised)
    assert {field: getattr(raised.location, field) for field in location} == location
    for name in names:
        assert name in str(raised)
