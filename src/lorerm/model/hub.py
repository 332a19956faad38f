"""Saving, loading and publishing a model, by the conventions of the Hugging Face hub.

The methods have the names and arguments of `huggingface_hub.ModelHubMixin`, which is not a base class for two reasons:

- It sets attributes on every new object, but models are immutable.
- It writes all constructor arguments to JSON, which would include the weights of up to millions of users.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lorerm.errors import ModelError, first_line
from lorerm.model.card import write_card
from lorerm.model.compatibility import check_encoder
from lorerm.model.io import CONFIG, MODEL, USERS, load_model, save_model
from lorerm.model.parameters import ModelParameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lorerm.embedding.encoder import Encoder
    from lorerm.model.card import ReportLike

Model = TypeVar("Model", bound="PretrainedModel")


class PretrainedModel(ModelParameters):
    """A model that can be saved to a folder or the hub, and loaded from there."""

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        include_users: bool = False,
        report: ReportLike | None = None,
        license_id: str | None = None,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **push_to_hub_kwargs: Any,  # noqa: ANN401 - handed on
    ) -> str | None:
        """Save the model to a folder, with a model card (`README.md`); an existing card is kept.

        Parameters
        ----------
        save_directory
            The folder; it is created if it does not exist.
        include_users
            Whether to save the users' ids, weights and projected comparisons too. They are personal data.
        report
            The evaluation whose accuracies the card shows: the result of `lorerm.evaluate`, or the path of a
            `report.json`.
        license_id
            The licence's identifier on the hub, such as "apache-2.0".
        push_to_hub
            Whether to upload the model to the hub too. `push_to_hub_kwargs` are further arguments of `push_to_hub`.
        repo_id
            The repository on the hub; by default the folder's name.

        Returns
        -------
        str or None
            The URL of the commit if the model was uploaded, otherwise None.
        """
        folder = Path(save_directory)
        save_model(self, folder, include_users=include_users)
        name = repo_id or folder.resolve().name
        write_card(self, folder, name, include_users=include_users, report=report, license_id=license_id)
        if not push_to_hub:
            return None
        return self.push_to_hub(
            name,
            include_users=include_users,
            report=report,
            license_id=license_id,
            **push_to_hub_kwargs,
        )

    @classmethod
    def from_pretrained(
        cls: type[Model],
        pretrained_model_name_or_path: str | Path,
        *,
        encoder: Encoder | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> Model:
        """Load a model from a folder or the hub.

        Parameters
        ----------
        pretrained_model_name_or_path
            A folder, or an id on the hub.
        encoder
            The encoder that will be used with the model. It is checked to be the one that the model was trained with.
        revision, token, cache_dir, force_download, local_files_only
            As in `huggingface_hub.snapshot_download`; ignored for a folder.

        Raises
        ------
        ModelError
            If the model does not exist, its files are damaged, a newer version of lorerm wrote it, or it was trained
            with another encoder.
        """
        folder = _find_folder(
            pretrained_model_name_or_path,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        model = load_model(folder, cls)
        if encoder is not None:
            check_encoder(model, encoder.identity)
        return model

    def push_to_hub(
        self,
        repo_id: str,
        *,
        include_users: bool = False,
        report: ReportLike | None = None,
        license_id: str | None = None,
        commit_message: str = "Push model using lorerm.",
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
    ) -> str:
        """Upload the model to the hub in one commit; the repository is created if it does not exist.

        Parameters
        ----------
        repo_id
            Id of the repository, such as "name/model".
        include_users, report, license_id
            As in `save_pretrained`. If `include_users` is False, the users' file of an earlier commit is deleted.
        commit_message, private, token, branch, create_pr
            As in `huggingface_hub.ModelHubMixin.push_to_hub`.

        Returns
        -------
        str
            The URL of the commit.

        Raises
        ------
        ModelError
            If the hub cannot be reached or refuses the upload.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token, library_name="lorerm")
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            saving: dict[str, Any] = {"include_users": include_users, "report": report, "license_id": license_id}
            self.save_pretrained(folder, repo_id=repo_id, **saving)
            problem = f"{repo_id} could not be uploaded to {api.endpoint}"
            with _as_model_error(problem, "check the repository id, the network and the token (`hf auth login`)"):
                repo_id = api.create_repo(repo_id=repo_id, private=private, exist_ok=True).repo_id
                commit = api.upload_folder(
                    repo_id=repo_id,
                    folder_path=folder,
                    commit_message=commit_message,
                    revision=branch,
                    create_pr=create_pr,
                    delete_patterns=None if include_users else [USERS],
                )
        return str(commit.commit_url)


def _find_folder(name: str | Path, **download: Any) -> Path:  # noqa: ANN401 - handed on to huggingface_hub
    """Return the folder of a model: `name` itself, or a cached copy downloaded from the hub.

    A `Path`, an existing folder and a string that cannot be an id on the hub are never looked up there. `download` are
    arguments of `huggingface_hub.snapshot_download`.
    """
    folder = Path(name)
    text = os.fspath(name)
    if folder.exists() or not isinstance(name, str) or text.startswith((".", "~", os.sep)) or text.count("/") > 1:
        return folder
    from huggingface_hub import snapshot_download

    problem = f"{text} is not an existing folder, and cannot be downloaded from the hub"
    with _as_model_error(problem, "check the folder or id, the revision, the token and the network"):
        return Path(snapshot_download(text, allow_patterns=[CONFIG, MODEL, USERS], **download))


@contextmanager
def _as_model_error(problem: str, remedy: str) -> Iterator[None]:
    """Replace any exception by a `ModelError` that gives the exception's first line as the reason."""
    try:
        yield
    except Exception as error:  # the hub's client raises errors of its own, of its HTTP library and of the system
        raise ModelError(f"{problem} ({first_line(error).strip().rstrip('.:')})", remedy) from error
