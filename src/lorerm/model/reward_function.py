"""Personal rewards for reinforcement learning: what TRL's `GRPOTrainer` calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.data.conversation import as_conversation
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.data.conversation import Message
    from lorerm.embedding.encoder import Encoder
    from lorerm.model.reward_model import LowRankRewardModel


class RewardFunction:
    """Rewards completions for the user of each row, as TRL's trainers ask for them.

    Give it as `reward_funcs` to `GRPOTrainer`. The data set needs a column of users beside `prompt`, unless everybody
    is the population.

    Parameters
    ----------
    model
        The personal reward model.
    encoder
        The encoder that it was trained on.
    user_column
        The data set's column of user ids; None rewards every row as the population would.
    population
        Whether users whom the model does not know, or rows without a user, are rewarded as the population would;
        otherwise they are an error.

    Raises
    ------
    ModelError
        If the encoder is another one.
    """

    def __init__(
        self,
        model: LowRankRewardModel,
        encoder: Encoder,
        *,
        user_column: str | None = "user_id",
        population: bool = False,
    ) -> None:
        model.check_encoder(encoder.identity)
        self.model = model
        self.encoder = encoder
        self.user_column = user_column
        self.population = population
        self.__name__ = "lorerm"
        """TRL's name for the reward in its logs."""

    def __call__(
        self,
        prompts: Sequence[str | Sequence[Message]],
        completions: Sequence[str | Sequence[Message]],
        **columns: Any,  # noqa: ANN401 - the data set's columns, and what TRL adds of its own
    ) -> list[float]:
        """Return one reward per completion.

        Parameters
        ----------
        prompts, completions
            Strings or lists of messages. A plain prompt counts as one user turn, a plain completion as one of the
            assistant's, as in the training of the reward model.
        **columns
            The data set's other columns, among them the users'; everything else is ignored.

        Raises
        ------
        DataError
            If the column of users is missing.
        UnknownUserError
            If the model does not know a user.
        """
        weights = self._weights(columns, len(completions))
        conversations = [as_conversation(*row) for row in zip(prompts, completions, strict=True)]
        embedded = torch.from_numpy(np.asarray(self.encoder.encode(conversations)))
        rewards: list[float] = ((embedded.to(self.model.basis) @ self.model.basis) * weights).sum(dim=1).tolist()
        return rewards

    def _weights(self, columns: dict[str, Any], n: int) -> torch.Tensor:
        """Return float32 [n, K]: the weights of each row's user."""
        if self.user_column is None:
            return self.model.population_weights.expand(n, -1)
        users = columns.get(self.user_column)
        if users is None and not self.population:
            raise DataError(
                f'the data set has no column "{self.user_column}" that says whose reward is asked for',
                "add it, name another one as user_column, or pass user_column=None for the population's reward",
            )
        if users is None:
            users = [None] * n
        if None in users and not self.population:
            raise DataError(
                f'column "{self.user_column}" is empty in row {list(users).index(None)} of the batch',
                "name the user, or pass population=True",
            )
        known = [None if user is None else str(user) for user in users]
        return torch.stack([self.model.user_weights(user, population=self.population) for user in known])
