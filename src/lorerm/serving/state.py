"""State of one server process: the objects that all routes use."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

from fastapi import Request

from lorerm.arrays import Floats32
from lorerm.errors import LorermError
from lorerm.serving.batching_encoder import BatchingEncoder
from lorerm.serving.database import Database
from lorerm.serving.documents import embed_documents
from lorerm.serving.feedback_store import FeedbackStore
from lorerm.serving.loaded_model import LoadedModel, ServedModel
from lorerm.serving.metrics import Metrics
from lorerm.serving.settings import Settings
from lorerm.serving.users import Users


@dataclass(frozen=True, eq=False)
class State:
    """The settings, the model, its users, the encoder of texts, and the metrics of one process."""

    settings: Settings
    model: LoadedModel
    users: Users
    encoder: BatchingEncoder | None
    metrics: Metrics

    @classmethod
    def open(
        cls, settings: Settings, metrics: Metrics, until_end: ExitStack, served: ServedModel | None = None
    ) -> State:
        """Load the model and open the database. A `LorermError` is printed as one line, and raised.

        `served` is the model that the supervisor loaded. None: the model is read from its files.
        Everything that must be closed at the end is registered in `until_end`.
        """
        try:
            database = Database(settings.database)
            until_end.callback(database.close)
            model = LoadedModel(settings, None if served is None else served.load())
        except LorermError as error:
            sys.stderr.write(f"lorerm: {error}\n")
            # uvicorn would also log a traceback, which does not help to correct the error.
            logging.getLogger("uvicorn.error").addFilter(lambda record: "Traceback" not in record.getMessage())
            raise
        series = model.fingerprint if served is None else served.series
        users = Users(model, FeedbackStore(database, model.fingerprint, series, model.basis))
        until_end.callback(users.close)
        encoder = None
        if model.encoder is not None:
            encoder = BatchingEncoder(model.encoder, settings.cache_bytes, settings.max_text)
            until_end.callback(encoder.close)
        return cls(settings, model, users, encoder, metrics)

    async def sample_metrics(self) -> None:
        """Pass the sizes of queues and caches to the metrics once a second, until this task is cancelled."""
        while True:
            users, encoder = self.users, self.encoder
            values: dict[str, float] = {
                "calls_waiting": users.waiting(),
                "users_cached": users.cached(),
                "fits": users.n_fits,
                "fit_seconds": users.fit_seconds,
            }
            if encoder is not None:
                values |= {"texts_waiting": encoder.waiting(), "embeddings_cached": encoder.cached()}
                values |= {"cache_hits": encoder.hits, "cache_misses": encoder.misses}
            self.metrics.sample(**values)
            await asyncio.sleep(1)

    async def embed(self, documents: Sequence[Any], prompts: Sequence[Any]) -> Floats32:
        """Return the embeddings of documents, float32 [n, D]; see `embed_documents`."""
        return await embed_documents(documents, prompts, len(self.model.basis), self.encoder)


def state_of(request: Request) -> State:
    """Return the state of the application that received a request."""
    return cast("State", request.app.state.shared)
