"""Load the models of a run: one folder per rank, with the weights of the adapted users."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.data.ids import nearest, shown
from lorerm.errors import ConfigError, ModelError, RunError, UnknownUserError
from lorerm.pipeline.experiment import stored_experiment
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.layout import ADAPTED, MODELS, UNSEEN, alpha_name
from lorerm.training.config import AdaptationConfig, TrainingConfig

if TYPE_CHECKING:
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.model.user_weights import UserWeights


def model_folder(run: RunFolder, rank: int, alpha: float | None = None) -> Path:
    """Return the folder of the model of a rank; `alpha` is None if the run has a single regularisation strength."""
    return run.path / MODELS / alpha_name(alpha) / f"rank-{rank}"


def chosen_alpha(run: RunFolder) -> float | None:
    """Return the regularisation strength that validation chose, or None if the run has a single one."""
    alpha = run.result("train").get("chosen_alpha")
    return None if alpha is None else float(alpha)


def chosen_rank(run: RunFolder) -> int:
    """Return the rank that validation chose."""
    return int(run.result("train")["chosen_rank"])


def check_rank(run: RunFolder, rank: int) -> int:
    """Return `rank`. Raises `ConfigError` if the run has no model of this rank."""
    ranks = run.result("train")["ranks"]
    if rank not in ranks:
        raise ConfigError(
            f"{run.path} has no model of rank {rank}",
            f"choose one of the ranks {', '.join(map(str, ranks))}, or train this rank with `lorerm train`",
            argument="rank",
        )
    return rank


def experiment_adaptation(run: RunFolder) -> dict[str, Any] | None:
    """Return the adaptation settings in the run's stored experiment (JSON-serialisable), or None if there are none.

    It loads neither torch nor the models, so that a finished step is recognised at once.
    """
    config = stored_experiment(run.path).adaptation(TrainingConfig(**run.arguments("train")))
    return None if config is None else asdict(config)


def adaptation_of(run: RunFolder) -> AdaptationConfig:
    """Return the settings with which users are adapted to the run's models, that is, with which weights are fitted.

    The settings come from the run's stored experiment or, if it has none, from the training recipe.
    """
    from lorerm.training.recipes import adaptation_for

    settings = experiment_adaptation(run)
    if settings is None:
        return adaptation_for(TrainingConfig(**run.arguments("train")))
    return AdaptationConfig(**settings)


def load_trained(run: RunFolder, rank: int, alpha: float | None = None) -> LowRankRewardModel:
    """Load the model of a rank as it was trained, without users adapted later."""
    from lorerm.model.reward_model import LowRankRewardModel

    folder = model_folder(run, rank, alpha)
    remedy = f"delete {folder} and run `lorerm train {run.path}` again"
    try:
        model = LowRankRewardModel.from_pretrained(folder)
    except ModelError as error:
        raise RunError(error.problem, remedy, file=error.location.file) from error
    if not model.user_ids:
        raise RunError(f"{folder} has no user weights (users.safetensors is missing or empty)", remedy)
    return model


def load_model(run: RunFolder, rank: int | None = None) -> LowRankRewardModel:
    """Load the model of a rank with the weights of all its users, the adapted ones included.

    If `rank` is None, it is the rank that validation chose. If the run has models for several alphas (regularisation
    strengths), those of the chosen alpha are used.
    """
    rank = check_rank(run, chosen_rank(run) if rank is None else rank)
    alpha = chosen_alpha(run)
    model = load_trained(run, rank, alpha)
    for name in (UNSEEN, ADAPTED):
        path = model_folder(run, rank, alpha) / name
        if path.exists():
            model = model.with_users(load_stored_users(path))
    return model


def check_user(run: RunFolder, model: LowRankRewardModel, user_id: str | None, alternative: str) -> None:
    """Raise `UnknownUserError` if the model has no weights for the user. `None` (the population model) is valid.

    `alternative` is the end of the error's remedy: what the user of the command can do instead of `lorerm adapt`.
    """
    try:
        model.user_weights(user_id)
    except UnknownUserError as error:
        near = nearest(str(user_id), model.user_ids)
        other = "" if near is None else f"give the id {shown(near)}, which is known, or "
        remedy = f"{other}run `lorerm adapt {run.path} --data FILE` with comparisons of this user, or {alternative}"
        raise UnknownUserError(error.problem, remedy, argument="user") from error


def load_stored_users(path: Path) -> UserWeights:
    """Read a file of adapted users in a run folder. Raises `RunError` if it is damaged."""
    from lorerm.model.io import load_users

    remedy = "run `lorerm report` again" if path.name == UNSEEN else f"delete {path} and adapt its users again"
    try:
        return load_users(path)
    except ModelError as error:
        raise RunError(error.problem, remedy, file=error.location.file) from error
    except (KeyError, ValueError) as error:
        raise RunError(f"{path} is damaged", remedy) from error
