"""The models of a run: one folder per rank, with the users adapted to it beside."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lorerm.errors import ConfigError, ModelError, RunError, UnknownUserError
from lorerm.pipeline.lock import locked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.model.user_weights import UserWeights
    from lorerm.pipeline.folder import RunFolder
    from lorerm.training.config import AdaptationConfig, TrainingConfig

MODELS = "models"
# The run's own unseen users, whom the report adapts; and those adapted since, from files of answers.
UNSEEN, ADAPTED = "unseen.safetensors", "adapted.safetensors"


def model_folder(run: RunFolder, rank: int, alpha: float | None = None) -> Path:
    """Return the folder of a rank's model; `alpha` is its place in a sweep of them, None where there was none."""
    return run.path / MODELS / alpha_name(alpha) / f"rank-{rank}"


def alpha_name(alpha: float | None) -> str:
    """Return the name of the folder for what a sweep made at one alpha."""
    return "" if alpha is None else f"alpha-{alpha:g}"


def chosen_alpha(run: RunFolder) -> float | None:
    """Return the alpha that validation chose in a sweep; None where there was none."""
    alpha = run.result("train").get("chosen_alpha")
    return None if alpha is None else float(alpha)


def chosen_rank(run: RunFolder) -> int:
    """Return the rank of the run's model: the one that validation chose."""
    return int(run.result("train")["chosen_rank"])


def given_adaptation(run: RunFolder) -> dict[str, Any] | None:
    """Return what the run's recipe says of adaptation, for the record of a step; None where it says nothing.

    Nothing heavy is loaded for it.
    """
    given = _by_recipe(run)[0]
    return None if given is None else asdict(given)


def adaptation_of(run: RunFolder) -> AdaptationConfig:
    """Return how users are adapted to the run's models: by its recipe or, where that says nothing, as trained."""
    from lorerm.training.train import adaptation_for

    given, trained = _by_recipe(run)
    return given or adaptation_for(trained)


def _by_recipe(run: RunFolder) -> tuple[AdaptationConfig | None, TrainingConfig]:
    from lorerm.pipeline.experiment import stored_recipe
    from lorerm.training.config import TrainingConfig

    trained = TrainingConfig(**run.arguments("train"))
    return stored_recipe(run.path).adaptation(trained), trained


def load_trained(run: RunFolder, rank: int, alpha: float | None = None) -> LowRankRewardModel:
    """Load the model of a rank as trained, without the users adapted since.

    Raises
    ------
    RunError
        If its files are missing or damaged.
    """
    from lorerm.model.reward_model import LowRankRewardModel

    folder = model_folder(run, rank, alpha)
    remedy = f"delete {folder} and run `lorerm train {run.path}` again"
    try:
        model = LowRankRewardModel.from_pretrained(folder)
    except ModelError as error:
        raise RunError(error.problem, remedy, file=error.location.file) from error
    if not model.user_ids:
        raise RunError(f"{folder} has lost its users", remedy)
    return model


def load_models(run: RunFolder, ranks: Sequence[int], alpha: float | None = None) -> dict[int, LowRankRewardModel]:
    """Load the models of some ranks, each as `load_trained`."""
    return {rank: load_trained(run, rank, alpha) for rank in ranks}


def load_model(run: RunFolder, rank: int | None = None) -> LowRankRewardModel:
    """Load a rank's model (by default the chosen one's) with everybody it has been adapted to, at the chosen alpha.

    Raises
    ------
    ConfigError
        If the run has no model of that rank.
    """
    ranks = run.result("train")["ranks"]
    rank = chosen_rank(run) if rank is None else rank
    if rank not in ranks:
        raise ConfigError(
            f"{run.path} has no model of rank {rank}", f"choose one of {', '.join(map(str, ranks))}, or train it"
        )
    alpha = chosen_alpha(run)
    model = load_trained(run, rank, alpha)
    for name in (UNSEEN, ADAPTED):
        path = model_folder(run, rank, alpha) / name
        if path.exists():
            model = model.with_users(_load_users(path))
    return model


def check_user(run: RunFolder, model: LowRankRewardModel, user_id: str | None, otherwise: str) -> None:
    """Refuse a user whom a run's model does not know; None is the population, which it knows.

    Raises
    ------
    UnknownUserError
        It says how to make the user known, or what to do `otherwise`.
    """
    try:
        model.user_weights(user_id)
    except UnknownUserError as error:
        remedy = f"run `lorerm adapt {run.path} --data FILE` with some of their answers, or {otherwise}"
        raise UnknownUserError(error.problem, remedy) from error


def add_users(run: RunFolder, users: UserWeights, rank: int) -> None:
    """Keep adapted users beside a rank's model; those adapted before stay, those adapted again are replaced."""
    from lorerm.model.io import save_users

    path = model_folder(run, rank, chosen_alpha(run)) / ADAPTED
    with locked(run.path):
        run.check_forgotten()
        save_users(_load_users(path).merge(users) if path.exists() else users, path)


def _load_users(path: Path) -> UserWeights:
    from lorerm.model.io import load_users

    remedy = "run `lorerm report` again" if path.name == UNSEEN else f"delete {path} and adapt its users again"
    try:
        return load_users(path)
    except ModelError as error:
        raise RunError(error.problem, remedy, file=error.location.file) from error
    except (KeyError, ValueError) as error:
        raise RunError(f"{path} is damaged", remedy) from error
