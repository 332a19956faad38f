"""Saved models: a folder with `config.json`, `model.safetensors` and, if users are included, `users.safetensors`.

`model.safetensors` contains

- `basis` [D, K] and `prior_mean` [K];
- `reference` [D], if the model has a reference head;
- `prior_covariance` [K, K], in `free` weight space;
- `prior_shares` [C], `prior_means` [C, K] and `prior_covariances` [C, K, K], if the prior is a mixture of C Gaussians.

`users.safetensors` contains, for N users,

- `weights` [N, K] and `user_ids` (a JSON list as UTF-8 bytes);
- `covariance` [N, K, K] and `validation_loss` [N], if the model has them;
- `answers` [n, K], `answer_count` [n] and `answer_user` [n], if the model keeps the users' n projected comparisons:
  the fields `projected`, `count` and `user` of `ProjectedComparisons`;
- `digests` [m] and `digest_user` [m], in a run folder's file of adapted users: hashes by which comparisons that were
  added before are recognised, and the index of each one's user.

Nothing is pickled: loading a file of unknown origin cannot run code.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch

from lorerm._version import __version__
from lorerm.atomic import atomic_path
from lorerm.embedding.encoder import EncoderIdentity
from lorerm.errors import ModelError, RunError
from lorerm.model.parameters import ModelParameters
from lorerm.model.prior import Mixture, WeightPrior
from lorerm.model.projected import ProjectedComparisons
from lorerm.model.user_weights import UserWeights

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

Model = TypeVar("Model", bound=ModelParameters)

# Format 2 added mixture priors.
FORMAT_VERSION = 2
CONFIG, MODEL, USERS = "config.json", "model.safetensors", "users.safetensors"


def save_model(model: ModelParameters, path: str | Path, *, include_users: bool) -> None:
    """Save a model to a folder. Each file is written atomically, `config.json` last."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the folder cannot be created ({error.strerror})", "choose another folder", file=folder
        ) from error
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
    tensors = {
        "basis": model.basis,
        "prior_mean": model.prior.mean,
        "prior_covariance": model.prior.covariance,
        "reference": model.reference,
    }
    if model.prior.mixture is not None:
        tensors |= {f"prior_{name}": tensor for name, tensor in model.prior.mixture._asdict().items()}
    _write_tensors(folder / MODEL, tensors)
    if include_users:
        save_users(UserWeights.of(model), folder / USERS, model.validation_loss)
    else:
        (folder / USERS).unlink(missing_ok=True)
    with atomic_path(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def load_model(path: str | Path, model_class: type[Model]) -> Model:
    """Load a model from a folder.

    Raises `ModelError` if the folder contains no model, a model of a newer format, or damaged files.
    """
    folder = Path(path)
    config = _read_config(folder)
    tensors = _read_tensors(folder / MODEL)
    users = _read_tensors(folder / USERS) if (folder / USERS).exists() else {}
    with _refusing_damage(folder):
        return model_class(**_fields(config, tensors, users))


class Digests(NamedTuple):
    """Digests of the comparisons that some users' weights were fitted to (`lorerm.data.digests`)."""

    value: torch.Tensor
    """int64 [m]: the digest of each comparison"""
    user: torch.Tensor
    """int64 [m]: for each digest, the index of the user"""


def save_users(
    users: UserWeights, path: Path, validation_loss: torch.Tensor | None = None, digests: Digests | None = None
) -> None:
    """Write ids, weights, covariances, projected comparisons and validation losses of users to a safetensors file.

    Digests of their comparisons are written, too, if they are given.
    """
    ids = json.dumps(list(users.user_ids), ensure_ascii=False).encode()
    tensors = {
        "weights": users.weights,
        "user_ids": torch.frombuffer(bytearray(ids), dtype=torch.uint8),
        "covariance": users.covariance,
        "validation_loss": validation_loss,
    }
    if users.comparisons is not None:
        kept = users.comparisons
        tensors |= {"answers": kept.projected, "answer_count": kept.count, "answer_user": kept.user.int()}
    if digests is not None:
        tensors |= {"digests": digests.value, "digest_user": digests.user.int()}
    _write_tensors(path, tensors)


def load_users(path: Path) -> UserWeights:
    """Read a file that `save_users` wrote. Raises `ModelError` if the file is unreadable or damaged."""
    tensors = _read_tensors(path)
    with _refusing_damage(path):
        return UserWeights(_user_ids(tensors), tensors["weights"], tensors.get("covariance"), _comparisons(tensors))


def load_digests(path: Path) -> Digests:
    """Read the digests in a file that `save_users` wrote; there are none if an earlier version wrote it."""
    tensors = _read_tensors(path)
    none = torch.zeros(0, dtype=torch.int64)
    with _refusing_damage(path):
        found = Digests(tensors.get("digests", none), tensors.get("digest_user", none).long())
        if found.value.shape != found.user.shape:
            raise ValueError("digests and digest_user differ in shape")
    return found


def forget_users(path: Path, user_ids: Collection[str]) -> bool:
    """Remove users, with all that belongs to them, from a file that `save_users` wrote.

    Return True if one of the users was in the file.
    """
    users, losses, digests = load_users(path), _read_tensors(path).get("validation_loss"), load_digests(path)
    kept = [i for i, user in enumerate(users.user_ids) if user not in user_ids]
    if len(kept) == len(users):
        return False
    # The new index of each user who stays, and -1 for each removed user.
    index = torch.full((len(users),), -1)
    index[kept] = torch.arange(len(kept))
    stays = index[digests.user] >= 0
    left = Digests(digests.value[stays], index[digests.user[stays]])
    losses = None if losses is None else losses[kept]
    save_users(users.forget(user_ids, missing_ok=True), path, losses, left if len(digests.value) else None)
    return True


def _fields(config: dict[str, Any], tensors: dict[str, torch.Tensor], users: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return the fields of `ModelParameters`, given the contents of the three files."""
    basis, prior_covariance = tensors["basis"], tensors.get("prior_covariance")
    for name, columns in (
        ("prior_mean", tensors["prior_mean"]),
        ("prior_means", tensors.get("prior_means", tensors["prior_mean"])),
        ("weights", users.get("weights", tensors["prior_mean"])),
    ):
        if columns.shape[-1] != basis.shape[1]:
            raise ValueError(f"{name} has {columns.shape[-1]} columns, the basis has {basis.shape[1]}")
    mixture = None
    if "prior_shares" in tensors:
        mixture = Mixture(**{name: tensors[f"prior_{name}"] for name in Mixture._fields})
    covariance = users.get("covariance")
    # A model saved without its users gets an empty covariance: None would mean that its recipe computes no covariances.
    if not users and prior_covariance is not None:
        covariance = torch.zeros(0, *prior_covariance.shape)
    return {
        "basis": basis,
        "weights": users.get("weights", basis.new_zeros(0, basis.shape[1])),
        "user_ids": _user_ids(users) if users else (),
        "prior": WeightPrior(tensors["prior_mean"], prior_covariance, config["concentration"], mixture),
        "temperature": config["temperature"],
        "requested_rank": config["rank"],
        "covariance": covariance,
        "reference": tensors.get("reference"),
        "encoder": None if config["encoder"] is None else EncoderIdentity.from_dict(config["encoder"]),
        "training": config["training"],
        "validation_loss": users.get("validation_loss"),
        "comparisons": _comparisons(users),
    }


def _comparisons(tensors: dict[str, torch.Tensor]) -> ProjectedComparisons | None:
    if "answers" not in tensors:
        return None
    user = tensors["answer_user"].long()
    if len(user) and not (int(user.min()) >= 0 and int(user.max()) < len(tensors["weights"])):
        raise ValueError("answer_user contains indices that are not rows of weights")
    if tensors["answers"].shape != (len(user), tensors["weights"].shape[1]):
        raise ValueError("the shape of answers does not match answer_user and weights")
    return ProjectedComparisons(tensors["answers"], tensors["answer_count"], user)


def _user_ids(tensors: dict[str, torch.Tensor]) -> tuple[str, ...]:
    ids = json.loads(bytes(tensors["user_ids"].tolist()).decode())
    if len(ids) != len(tensors["weights"]):
        raise ValueError(f"user_ids has {len(ids)} entries, weights has {len(tensors['weights'])} rows")
    return tuple(ids)


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    """Raise `ModelError` if a readable file has missing or inconsistent contents."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"the saved data are damaged ({type(error).__name__}: {error})", "save the model again", file=path
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        version = config["format_version"] if config["model_type"] == "lorerm" else None
    except (OSError, ValueError, KeyError, TypeError):
        version = None
    if not isinstance(version, int):
        raise ModelError(
            "this is not the folder of a lorerm model", f"give a folder with {CONFIG} and {MODEL}", file=folder
        )
    if version > FORMAT_VERSION:
        raise ModelError(
            f"the model is saved in format {version}; this version of lorerm reads formats up to {FORMAT_VERSION}",
            "upgrade lorerm",
            file=folder,
        )
    return config  # type: ignore[no-any-return]


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        # Not `load_file`: in safetensors 0.8 each call leaks a dozen Python objects, and a server calls it often.
        return load(path.read_bytes())  # type: ignore[no-any-return]
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the file cannot be read ({error})", "save the model again", file=path) from error


def _write_tensors(path: Path, tensors: Mapping[str, torch.Tensor | None]) -> None:
    """Write all tensors that are not None to a safetensors file."""
    from safetensors.torch import save

    given = {name: x.detach().cpu().clone().contiguous() for name, x in tensors.items() if x is not None}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(given))
