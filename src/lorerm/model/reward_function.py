"""Reward function for reinforcement learning with TRL: each completion gets the reward for the user in its row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.data.conversation import as_conversation, check_several
from lorerm.data.ids import parse_id
from lorerm.embedding.checks import check_finite
from lorerm.errors import DataError
from lorerm.model.compatibility import check_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.data.conversation import Message
    from lorerm.embedding.encoder import Encoder
    from lorerm.model.parameters import ModelParameters


class RewardFunction:
    """Personal rewards of completions, for the argument `reward_funcs` of TRL's `GRPOTrainer`.

    The data set needs a column of user ids in addition to `prompt`, unless `user_column` is None.

    Parameters
    ----------
    model
        The personal reward model.
    encoder
        The encoder that the model was trained on.
    user_column
        The data set's column of user ids; None gives every row the reward for a user without comparisons (the
        population's reward).
    population
        Whether unknown users and rows without a user id get the population's reward; otherwise they raise an error.

    Raises
    ------
    ModelError
        If the encoder is not the one that the model was trained on.
    """

    def __init__(
        self,
        model: ModelParameters,
        encoder: Encoder,
        *,
        user_column: str | None = "user_id",
        population: bool = False,
    ) -> None:
        check_encoder(model, encoder.identity)
        self.model = model
        self.encoder = encoder
        self.user_column = user_column
        self.population = population
        self.__name__ = "lorerm"
        """the name of the reward in TRL's logs"""

    def __call__(
        self,
        prompts: Sequence[str | Sequence[Message]],
        completions: Sequence[str | Sequence[Message]],
        **columns: Any,  # noqa: ANN401 - columns of the data set, and arguments that TRL adds
    ) -> list[float]:
        """Return one reward per completion.

        Parameters
        ----------
        prompts, completions
            Strings or lists of messages. A string is one message: of the role `user` in a prompt, `assistant` in a
            completion. The reward model was trained with the same rule.
        **columns
            Other columns of the data set, and arguments that TRL adds. Only the column of user ids is used.

        Raises
        ------
        DataError
            If `prompts` or `completions` is a single text; or if the column of user ids is missing or has empty rows
            (None, NaN), and `population` is False; or if a value is no id, for instance 1.5 (`lorerm.data.ids`).
            Also if the encoder computes NaN or infinite values.
        UnknownUserError
            If the model does not know a user, and `population` is False.
        """
        check_several(prompts, "prompts")
        check_several(completions, "completions")
        weights = self._weights(columns, len(completions))
        conversations = [as_conversation(*row) for row in zip(prompts, completions, strict=True)]
        embedded = torch.from_numpy(np.asarray(self.encoder.encode(conversations)))
        check_finite(embedded, "completions")
        rewards: list[float] = ((embedded.to(self.model.basis) @ self.model.basis) * weights).sum(dim=1).tolist()
        return rewards

    def _weights(self, columns: dict[str, Any], n: int) -> torch.Tensor:
        """Return float32 [n, K]: the weights of each row's user."""
        if self.user_column is None:
            return self.model.population_weights.expand(n, -1)
        users = columns.get(self.user_column)
        if users is None and not self.population:
            raise DataError(
                f'the data set has no column "{self.user_column}" of user ids',
                "add it, name another column as user_column, or pass user_column=None for the population's reward",
                column=self.user_column,
            )
        if users is None:
            return self.model.population_weights.expand(n, -1)
        if isinstance(users, str) or len(users) != n:
            raise DataError(
                f'column "{self.user_column}" does not have one user id for each of the {n} completions',
                "give a list with one user id per completion",
                column=self.user_column,
            )
        return torch.stack([self._weights_of(user, row) for row, user in enumerate(users, 1)])

    def _weights_of(self, user: object, row: int) -> torch.Tensor:
        """Return the weights [K] of the user in a row of the batch (counted from 1)."""
        column = str(self.user_column)
        try:
            user_id = parse_id(user, column)
        except DataError as error:
            raise error.in_row("the batch", row) from error
        if user_id is None and not self.population:
            raise DataError(
                f'column "{column}" is empty',
                "give the user id, or pass population=True for the population's reward",
                file="the batch",
                row=row,
                column=column,
            )
        return self.model.user_weights(user_id, population=self.population)
