"""Series of models that share users' feedback: a model, and the models that were trained later to replace it.

The name of a series is the fingerprint of its first model. A model that replaces no other model begins its own series,
and does not use the feedback for the other models in the same database.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from lorerm.arrays import Floats32
from lorerm.model.reward_model import LowRankRewardModel
from lorerm.serving.carry_over import BasisMap, fit_map
from lorerm.serving.database import Database, maps, models, updates, users

_NUMBER = np.dtype("<f4")


@dataclass(frozen=True)
class Amount:
    """A number of users, and the number of their comparisons."""

    users: int
    feedback: int
    """number of comparisons; a choice among several responses counts as one"""

    def __str__(self) -> str:
        """Return both numbers in words, as in "2 users have 5 comparisons"."""
        of = "user has" if self.users == 1 else "users have"
        return f"{self.users:,} {of} {self.feedback:,} comparison{'' if self.feedback == 1 else 's'}"


def register(
    database: Database,
    model: LowRankRewardModel,
    fingerprint: str,
    follows: str | None = None,
    differences: Floats32 | None = None,
) -> str:
    """Record in the database that a model is served, and return its series.

    `follows` is the fingerprint of the model that was served before. If both models have the same encoder, the model
    joins the series of the earlier one, unless users already have feedback for the model in another series. Maps
    between the bases of the models in the series are fitted on `differences` [n, D] of embeddings.
    """
    identity = None if model.encoder is None else model.encoder.to_dict()
    encoder = json.dumps([identity, len(model.basis)], sort_keys=True)
    basis = model.basis.numpy()
    row = {"served": time.time(), "encoder": encoder, "rank": basis.shape[1], "basis": _bytes(basis)}
    with database.writing() as connection:
        known = {each.fingerprint: each for each in connection.execute(sa.select(models))}
        series = known[fingerprint].series if fingerprint in known else fingerprint
        if follows in known and known[follows].encoder == encoder:
            own = connection.execute(sa.select(users.c.user_id).where(users.c.model == series).limit(1)).first()
            series = known[follows].series if own is None else series
        if fingerprint in known:
            connection.execute(
                sa.update(models).where(models.c.fingerprint == fingerprint).values(series=series, **row)
            )
        else:
            connection.execute(sa.insert(models).values(fingerprint=fingerprint, series=series, **row))
        for other in known.values():
            if other.series == series and other.fingerprint != fingerprint:
                earlier = np.frombuffer(other.basis, _NUMBER).reshape(len(basis), -1)
                _store_map(connection, other.fingerprint, fingerprint, fit_map(earlier, basis, differences))
                _store_map(connection, fingerprint, other.fingerprint, fit_map(basis, earlier, differences))
    return series


def last_served(database: Database, model: LowRankRewardModel, fingerprint: str) -> str | None:
    """Return the fingerprint of the other model with this encoder that was served last; None if there is none."""
    identity = None if model.encoder is None else model.encoder.to_dict()
    encoder = json.dumps([identity, len(model.basis)], sort_keys=True)
    query = sa.select(models.c.fingerprint).where(models.c.encoder == encoder, models.c.fingerprint != fingerprint)
    found = database.read(query.order_by(models.c.served.desc()).limit(1))
    return found[0].fingerprint if found else None


def read_map(database: Database, source: str, target: str) -> BasisMap | None:
    """Return the stored map between the bases of two models; None if no map is stored."""
    found = database.read(sa.select(maps).where(maps.c.source == source, maps.c.target == target))
    if not found:
        return None
    ranks = {each.fingerprint: each.rank for each in database.read(sa.select(models.c.fingerprint, models.c.rank))}
    matrix = np.frombuffer(found[0].matrix, _NUMBER).reshape(ranks[source], ranks[target])
    return BasisMap(matrix, found[0].explained, found[0].differences)


@dataclass(frozen=True)
class Contents:
    """Numbers of users and comparisons in a database, as one model can use them."""

    served: Amount
    """users and comparisons that all models of the model's series received"""
    exact: int
    """comparisons that another model of the series received, and whose embedding differences are stored"""
    mapped: int
    """comparisons that another model of the series received, without stored differences: mapped approximately"""
    other: Amount
    """users and comparisons that models of other series received"""


def contents(database: Database, series: str, fingerprint: str) -> Contents:
    """Count the users and comparisons in a database, for one model of a series."""
    in_series = users.c.model == series
    counted = database.read(sa.select(in_series, sa.func.count()).group_by(in_series))
    n_users = {bool(mine): number for mine, number in map(tuple, counted)}
    basis = sa.func.coalesce(updates.c.basis, updates.c.model)
    groups = (updates.c.model == series, basis == fingerprint, updates.c.differences.is_not(None))
    counted = database.read(sa.select(*groups, sa.func.sum(updates.c.answers)).group_by(*groups))
    of = {(bool(mine), bool(own), bool(kept)): int(number) for mine, own, kept, number in map(tuple, counted)}
    total = {side: sum(number for key, number in of.items() if key[0] is side) for side in (True, False)}
    return Contents(
        served=Amount(n_users.get(True, 0), total[True]),
        exact=of.get((True, False, True), 0),
        mapped=of.get((True, False, False), 0),
        other=Amount(n_users.get(False, 0), total[False]),
    )


def _store_map(connection: sa.Connection, source: str, target: str, found: BasisMap) -> None:
    connection.execute(sa.delete(maps).where(maps.c.source == source, maps.c.target == target))
    values = {"matrix": _bytes(found.matrix), "explained": found.explained, "differences": found.n_differences}
    connection.execute(sa.insert(maps).values(source=source, target=target, **values))


def _bytes(matrix: Floats32) -> bytes:
    return np.ascontiguousarray(matrix).astype(_NUMBER, copy=False).tobytes()
