"""Where a verb's settings come from: the command line first, then the recipe, then the verb's own defaults."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.cli.options import given_options
from lorerm.errors import ConfigError
from lorerm.pipeline.config import SplitConfig
from lorerm.pipeline.experiment import ENCODER_SETTINGS, Recipe, find_recipe, is_recipe_file
from lorerm.pipeline.sources import is_dataset
from lorerm.training.config import RECIPES, TrainingConfig

if TYPE_CHECKING:
    import argparse

EMBEDDED = "embedded"
"""What `--model` is given to have the embedded encoder where a recipe names a model."""

_DATA_OPTIONS = ("include_cnn_dm", "published_format", "concentration", "languages")


def add_recipe_option(parser: argparse.ArgumentParser) -> None:
    """Add `--recipe` for what is read."""
    parser.add_argument(
        "--recipe",
        metavar="NAME_OR_FILE",
        help="of a data set: default (the corrected protocol) or paper (as published); a YAML file; or how to train: "
        f"{', '.join(RECIPES)} (default: default)",
    )


def add_dataset_options(parser: argparse.ArgumentParser, *, revision: bool) -> None:
    """Add where a data set known by name is read, and its switches; `revision` where that word is not the model's."""
    group = parser.add_argument_group("Data sets by name")
    group.add_argument("--data", metavar="PATH", help="local files in the data set's own layout (default: the hub)")
    names = ["--data-revision", "--revision"] if revision else ["--data-revision"]
    group.add_argument(
        *names, dest="data_revision", metavar="REVISION", help="branch, tag or commit of the data set on the hub"
    )
    group.add_argument(
        "--include-cnn-dm", action="store_true", default=None, help="tldr: choices on news articles, too"
    )
    group.add_argument(
        "--published-format",
        action="store_true",
        default=None,
        help="prism: pairs in the published format, which gives the chosen side away (only to match a published table)",
    )
    group.add_argument(
        "--concentration",
        type=float,
        metavar="A",
        help="personalllm: people are drawn from Dirichlet(A * 1_10); the larger, the more alike (default: 0.1)",
    )
    group.add_argument(
        "--languages", nargs="+", metavar="LANG", help="community-alignment: which to take (default: all)"
    )


def source_recipe(parsed: argparse.Namespace) -> Recipe:
    """Return the settings for what is read: the recipe with the command line's settings in it.

    Raises
    ------
    ConfigError
        If the recipe is not known, or an option of a data set is given with files.
    """
    data, dataset = _data_options(parsed), dataset_name(parsed)
    if dataset is None and (data or parsed.data is not None):
        option = "data-revision" if "revision" in data else next(iter(data), "data").replace("_", "-")
        raise ConfigError(
            f"--{option} is about data sets known by name, and files were given", "leave it out, or name a data set"
        )
    return merge_given(parsed, find_recipe(dataset, parsed.recipe).merge(data=data))


def dataset_name(parsed: argparse.Namespace) -> str | None:
    """Return the name of the data set that is read; None for files."""
    local = {} if parsed.data is None else {"data": parsed.data}
    return parsed.source[0] if is_dataset(parsed.source, {**_data_options(parsed), **local}) else None


def _data_options(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the options of data sets that the command line gave, but for the path of local files."""
    given = {**{name: getattr(parsed, name) for name in _DATA_OPTIONS}, "revision": parsed.data_revision}
    return {name: value for name, value in given.items() if value is not None}


def source_options(parsed: argparse.Namespace, recipe: Recipe) -> dict[str, Any]:
    """Return the data set's options; the path of local files is no part of a recipe."""
    return dict(recipe.data) if parsed.data is None else {**recipe.data, "data": parsed.data}


def keep_recipe(parsed: argparse.Namespace, recipe: Recipe) -> None:
    """Write the merged recipe into the run, where there is one: of a data set, or from a file."""
    if dataset_name(parsed) is not None or is_recipe_file(parsed.recipe):
        recipe.write(parsed.out)


def merge_given(parsed: argparse.Namespace, recipe: Recipe) -> Recipe:
    """Put what the command line gave into a recipe."""
    train = given_options(parsed, TrainingConfig)
    for name in ("ranks", "alphas"):
        if getattr(parsed, name, None) is not None:
            train[name] = getattr(parsed, name)
    if "alpha" in train:
        if "alphas" in train:
            raise ConfigError("--alpha and --alphas are both given", "give one of them")
        train["alphas"] = [train.pop("alpha")]
    if hasattr(parsed, "source"):
        train.pop("recipe", None)  # the word that chose this recipe
    embed: dict[str, Any] = {}
    if getattr(parsed, "model", None) is not None:
        # Another model has other revisions and dtypes.
        recipe = recipe if recipe.embed.get("model") == parsed.model else Recipe(**{**vars(recipe), "embed": {}})
    for name in ENCODER_SETTINGS:
        value = getattr(parsed, name, None)
        if value is not None:
            embed[name] = value
    return recipe.merge(split=given_options(parsed, SplitConfig), train=train, embed=embed)


def fill_encoder_options(parsed: argparse.Namespace, recipe: Recipe) -> None:
    """Give the encoder's options what the recipe says and the command line does not."""
    embed = merge_given(parsed, Recipe(embed=recipe.embed)).embed
    for name, value in embed.items():
        setattr(parsed, name, value)
    if parsed.model == EMBEDDED and not Path(EMBEDDED).exists():
        parsed.model = None
        parsed.revision = parsed.dtype = parsed.max_length = parsed.attn = None
