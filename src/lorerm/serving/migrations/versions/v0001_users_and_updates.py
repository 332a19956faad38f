"""Create the tables of users, of their feedback and of pending erasures."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "users",
        sa.Column("model", sa.String(32), primary_key=True),
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("stamp", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_table(
        "updates",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("model", sa.String(32), nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("answers", sa.Integer, nullable=False),
        sa.Column("projected", sa.LargeBinary, nullable=False),
        sa.Column("count", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("model", "user_id", "version", name="one_update_a_version"),
        sa.UniqueConstraint("model", "user_id", "key", name="one_update_a_key"),
    )
    erasures = op.create_table("erasures", sa.Column("pending", sa.Integer, primary_key=True))
    op.bulk_insert(erasures, [{"pending": 0}])
    if op.get_bind().dialect.name == "postgresql":
        # PostgreSQL stores the most common values of a column as statistics, which would keep ids of deleted users.
        for table, column in (("users", "user_id"), ("updates", "user_id"), ("updates", "key")):
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")
        for column in ("digest", "projected", "count"):
            op.execute(f"ALTER TABLE updates ALTER COLUMN {column} SET STATISTICS 0")
