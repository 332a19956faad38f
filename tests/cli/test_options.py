"""Command-line options generated from the fields of dataclasses."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Literal

import pytest

from lorerm.cli.options import add_options, given_options
from lorerm.data.splits import SplitConfig
from lorerm.training.config import TrainingConfig


@dataclass(frozen=True)
class Config:
    """What can be said."""

    name: str
    """what it is called"""
    share: float = 0.5
    """a share in %"""
    count: int | None = None
    """how many; None: as many as there are (all)"""
    kind: Literal["a", "b"] = "a"
    """which one"""
    most: int | None = 50
    """most of them"""


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    add_options(parser, Config)
    return parser


def test_values_have_the_fields_types(parser):
    parsed = parser.parse_args(["--name", "n", "--share", "0.25", "--count", "3", "--kind", "b"])
    assert Config(**given_options(parsed, Config)) == Config("n", 0.25, 3, "b")


def test_a_limit_can_be_lifted(parser, capsys):
    for text, value in (("all", None), ("3", 3)):
        assert given_options(parser.parse_args(["--most", text]), Config) == {"most": value}
    with pytest.raises(SystemExit):
        parser.parse_args(["--most", "many"])
    assert "--most: give a number or all, not 'many'" in capsys.readouterr().err


def test_what_is_not_given_is_not_there(parser):
    """So that a recipe's setting can take its place, or the field's own default."""
    assert given_options(parser.parse_args([]), Config) == {}


def test_help_says_what_the_default_is(parser):
    text = " ".join(parser.format_help().split())
    assert "a share in % (default: 0.5)" in text
    assert "how many (default: as many as there are (all))" in text
    assert "{a,b}" in text
    assert "--most INT|all most of them (default: 50; all: no limit)" in text
    assert "What can be said" in text


def test_left_out_field_is_no_option():
    parser = argparse.ArgumentParser()
    add_options(parser, Config, leave_out=("name",))
    assert "--name" not in parser.format_help()


@pytest.mark.parametrize("config", [SplitConfig, TrainingConfig])
def test_every_field_of_the_project_has_a_text(config):
    parser = argparse.ArgumentParser()
    add_options(parser, config)
    options = [action for action in parser._actions if action.dest != "help"]
    assert all(len(action.help) > 15 for action in options)


@dataclass(frozen=True)
class Of:
    """A data set."""

    names: tuple[str, ...] | None = None
    """which ones; None: all"""
    share: float = 0.1
    """another share"""


def test_several_values_and_options_of_an_owner(parser):
    """A flag that exists gets the name of the owner; values are stored apart."""
    add_options(parser, Of, owner="data")
    parsed = parser.parse_args(["--names", "a", "b", "--share", "0.25", "--data-share", "0.75"])
    assert given_options(parsed, Of, owner="data") == {"names": ["a", "b"], "share": 0.75}
    assert given_options(parsed, Config) == {"share": 0.25}
    assert "A data set (data)" in parser.format_help()


def test_flag_that_exists_is_an_error_without_an_owner(parser):
    with pytest.raises(argparse.ArgumentError):
        add_options(parser, Of)
