"""A model's folder: `config.json`, `model.safetensors` and, when asked for, `users.safetensors`.

`model.safetensors` holds `basis` [D, K], `prior_mean` [K], `prior_covariance` [K, K] (free weight space), where people
are of C kinds `prior_shares` [C], `prior_means` [C, K] and `prior_covariances` [C, K, K], and `reference` [D];
`users.safetensors` holds `weights` [N, K], `covariance` [N, K, K], `validation_loss` [N], `user_ids`, a JSON list as
UTF-8 bytes, and, where they were kept, `answers` [n, K], `answer_count` [n] and `answer_user` [n]. Nothing is ever
unpickled.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm._version import __version__
from lorerm.atomic import atomic_path
from lorerm.errors import ModelError, RunError
from lorerm.model.projected import ProjectedAnswers
from lorerm.model.user_weights import UserWeights

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import torch

    from lorerm.model.reward_model import LowRankRewardModel

# 2: people of several kinds in the prior.
FORMAT_VERSION = 2
CONFIG, MODEL, USERS = "config.json", "model.safetensors", "users.safetensors"


def save_model(model: LowRankRewardModel, path: str | Path, *, include_users: bool) -> None:
    """Write a model's folder; each file appears whole or not at all, `config.json` last."""
    from safetensors.torch import save

    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the folder {folder} cannot be made ({error.strerror})", "choose another place") from error
    config = {
        "format_version": FORMAT_VERSION,
        "model_type": "lorerm",
        "lorerm_version": __version__,
        "rank": model.requested_rank,
        "fitted_rank": model.fitted_rank,
        "dimension": model.basis.shape[0],
        "weight_space": model.weight_space,
        "concentration": model.prior.concentration,
        "temperature": model.temperature,
        "encoder": None if model.encoder is None else model.encoder.to_dict(),
        "training": dict(model.training),
    }
    tensors = {"basis": model.basis, "prior_mean": model.prior.mean}
    if model.prior.covariance is not None:
        tensors["prior_covariance"] = model.prior.covariance
    if model.prior.mixture is not None:
        tensors |= {f"prior_{name}": tensor for name, tensor in model.prior.mixture._asdict().items()}
    if model.reference is not None:
        tensors["reference"] = model.reference
    with atomic_path(folder / MODEL) as temporary:
        temporary.write_bytes(
            save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()})
        )
    if include_users:
        save_users(model.users(), folder / USERS, model.validation_loss)
    else:
        (folder / USERS).unlink(missing_ok=True)
    with atomic_path(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def save_users(users: UserWeights, path: Path, validation_loss: torch.Tensor | None = None) -> None:
    """Write users' ids, weights and covariances into one safetensors file."""
    import torch
    from safetensors.torch import save

    ids = json.dumps(list(users.user_ids), ensure_ascii=False).encode()
    tensors = {"weights": users.weights, "user_ids": torch.frombuffer(bytearray(ids), dtype=torch.uint8)}
    if users.covariance is not None:
        tensors["covariance"] = users.covariance
    if users.answers is not None:
        kept = users.answers
        tensors |= {"answers": kept.projected, "answer_count": kept.count, "answer_user": kept.user.int()}
    if validation_loss is not None:
        tensors["validation_loss"] = validation_loss
    with atomic_path(path) as temporary:
        temporary.write_bytes(
            save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()})
        )


def load_users(path: Path) -> UserWeights:
    """Read what `save_users` wrote."""
    tensors = _read_tensors(path)
    with _refusing_damage(path):
        return UserWeights(_user_ids(tensors), tensors["weights"], tensors.get("covariance"), _answers(tensors))


def load_losses(path: Path) -> torch.Tensor | None:
    """Read the losses on validation pairs, float32 [N], that `save_users` was given; None where there were none."""
    return _read_tensors(path).get("validation_loss")


def forget_users(path: Path, user_ids: Collection[str]) -> None:
    """Rewrite what `save_users` wrote without some of the users; the training users' losses go with them."""
    users, losses = load_users(path), load_losses(path)
    kept = [i for i, user in enumerate(users.user_ids) if user not in user_ids]
    if len(kept) < len(users):
        save_users(users.forget(user_ids), path, None if losses is None else losses[kept])


def _answers(tensors: dict[str, torch.Tensor]) -> ProjectedAnswers | None:
    if "answers" not in tensors:
        return None
    user = tensors["answer_user"].long()
    if len(user) and not (int(user.min()) >= 0 and int(user.max()) < len(tensors["weights"])):
        raise ValueError("answers of users who are not there")
    if tensors["answers"].shape != (len(user), tensors["weights"].shape[1]):
        raise ValueError("answers of another shape than the weights'")
    return ProjectedAnswers(tensors["answers"], tensors["answer_count"], user)


def _user_ids(tensors: dict[str, torch.Tensor]) -> tuple[str, ...]:
    ids = json.loads(bytes(tensors["user_ids"].tolist()).decode())
    if len(ids) != len(tensors["weights"]):
        raise ValueError(f"{len(ids)} users have {len(tensors['weights'])} rows of weights")
    return tuple(ids)


def load_model(path: str | Path) -> LowRankRewardModel:
    """Read a model's folder; see `LowRankRewardModel.from_pretrained`."""
    folder = Path(path)
    config = _read_config(folder)
    tensors = _read_tensors(folder / MODEL)
    users = _read_tensors(folder / USERS) if (folder / USERS).exists() else {}
    with _refusing_damage(folder):
        return _model(config, tensors, users)


def _model(
    config: dict[str, Any], tensors: dict[str, torch.Tensor], users: dict[str, torch.Tensor]
) -> LowRankRewardModel:
    """Put a model together from what its files hold."""
    import torch

    from lorerm.embedding.encoder import EncoderIdentity
    from lorerm.model.posterior import Mixture, WeightPrior
    from lorerm.model.reward_model import LowRankRewardModel

    basis = tensors["basis"]
    for name, columns in (
        ("prior_mean", tensors["prior_mean"]),
        ("prior_means", tensors.get("prior_means", tensors["prior_mean"])),
        ("weights", users.get("weights", tensors["prior_mean"])),
    ):
        if columns.shape[-1] != basis.shape[1]:
            raise ValueError(f"{name} has {columns.shape[-1]} columns, the basis has {basis.shape[1]}")
    return LowRankRewardModel(
        basis=basis,
        weights=users.get("weights", basis.new_zeros(0, basis.shape[1])),
        user_ids=_user_ids(users) if users else (),
        prior=WeightPrior(
            mean=tensors["prior_mean"],
            covariance=tensors.get("prior_covariance"),
            concentration=config["concentration"],
            mixture=Mixture(**{name: tensors[f"prior_{name}"] for name in Mixture._fields})
            if "prior_shares" in tensors
            else None,
        ),
        temperature=config["temperature"],
        requested_rank=config["rank"],
        covariance=users.get(
            "covariance",
            None if users or "prior_covariance" not in tensors else torch.zeros(0, *tensors["prior_covariance"].shape),
        ),
        reference=tensors.get("reference"),
        encoder=None if config["encoder"] is None else EncoderIdentity.from_dict(config["encoder"]),
        training=config["training"],
        validation_loss=users.get("validation_loss"),
        answers=_answers(users),
    )


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    """Say in one line that files were readable but do not hold what they should."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is damaged ({type(error).__name__}: {error})", "save the model again") from error


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        version = config["format_version"] if config["model_type"] == "lorerm" else None
    except (OSError, ValueError, KeyError, TypeError):
        version = None
    if not isinstance(version, int):
        raise ModelError(
            f"{folder} is not the folder of a lorerm model", f"give a folder that holds {CONFIG} and {MODEL}"
        )
    if version > FORMAT_VERSION:
        raise ModelError(
            f"{folder} has model format {version}, this version of lorerm reads up to {FORMAT_VERSION}",
            "upgrade lorerm",
        )
    return config  # type: ignore[no-any-return]


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        # Not `load_file`: with safetensors 0.8, each call keeps a dozen Python objects, and a server reads often.
        return load(path.read_bytes())  # type: ignore[no-any-return]
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error})", "save the model again") from error
