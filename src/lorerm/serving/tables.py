"""What is kept of people: who has answered, and their answers as the posterior needs them. No text, no embedding."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("model", String(32), primary_key=True, doc="fingerprint of what decides the weights"),
    Column("user_id", Text, primary_key=True),
    Column("stamp", BigInteger, nullable=False, doc="drawn anew with every change: equal stamps, equal state"),
    Column("version", Integer, nullable=False, doc="how many requests brought answers"),
)

updates = Table(
    "updates",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("model", String(32), nullable=False),
    Column("user_id", Text, nullable=False),
    Column("version", Integer, nullable=False, doc="the user's after this request"),
    Column("created", Float, nullable=False, doc="seconds since 1970"),
    Column("key", Text, doc="the request's idempotency key"),
    Column("digest", LargeBinary, nullable=False, doc="SHA-256 of the request: is one with the same key the same?"),
    Column("answers", Integer, nullable=False, doc="how many the request brought"),
    Column("projected", LargeBinary, nullable=False, doc="float32 [n, K], little-endian: d . V of each pair"),
    Column("count", LargeBinary, nullable=False, doc="float32 [n]: how many judgements each pair stands for"),
    UniqueConstraint("model", "user_id", "version", name="one_update_a_version"),
    UniqueConstraint("model", "user_id", "key", name="one_update_a_key"),
)

erasures = Table(
    "erasures",
    metadata,
    Column("pending", Integer, primary_key=True, doc="deletions whose remains may still be in the files; one row"),
)
