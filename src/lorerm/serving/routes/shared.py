"""What routes have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from fastapi import Request

from lorerm.errors import DataError
from lorerm.serving.errors import ApiError
from lorerm.serving.texts import vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.serving.embeddings import Embeddings
    from lorerm.serving.metrics import Metrics
    from lorerm.serving.people import People
    from lorerm.serving.schemas import Who
    from lorerm.serving.served import Served
    from lorerm.serving.vectors import Vector32


@dataclass(frozen=True, eq=False)
class Service:
    """What the routes work with."""

    served: Served
    people: People
    embeddings: Embeddings | None
    metrics: Metrics

    async def vectors(self, documents: Sequence[Any], prompts: Sequence[Any]) -> Vector32:
        """Return the documents' embeddings, float32 [n, D]; see `lorerm.serving.texts`."""
        return await vectors(documents, prompts, len(self.served.basis), self.embeddings)

    async def weights(self, who: Who) -> tuple[str | None, Vector32]:
        """Return whose weights are used (None: the population's), and the weights [K]."""
        if who.user is None:
            return None, self.served.population
        person = await self.people.find(who.user)
        if person is not None:
            return who.user, person.weights
        if who.population:
            return None, self.served.population
        raise unknown(who.user)

    def rewards(self, embeddings: Vector32, weights: Vector32) -> list[float]:
        """Return the rewards of embeddings [n, D]."""
        with np.errstate(all="ignore"):
            # Each row by itself: in one product, equal rows can get rewards that differ in the last digit.
            rewards = np.matmul(embeddings[:, None, :], self.served.basis @ weights)[:, 0]
        if not np.isfinite(rewards).all():
            raise DataError("an embedding holds NaN, or numbers too large to compute with", "check what embedded it")
        return cast("list[float]", rewards.tolist())

    def check_model(self, name: str | None) -> None:
        """Refuse a request for another model."""
        if name is not None and name != self.served.name:
            raise ApiError(
                404,
                "unknown_model",
                "this server has no model of that name",
                f"leave the name out, or ask for {self.served.name!r}",
            )


def service_of(request: Request) -> Service:
    """Return what the routes work with."""
    return cast("Service", request.app.state.service)


def unknown(user: str) -> ApiError:
    """Return the error for a user of whom nothing is known."""
    return ApiError(
        404,
        "unknown_user",
        f"nothing is known of user {user!r:.80}",
        'send some of their answers, or ask for the population\'s model ("population": true)',
    )
