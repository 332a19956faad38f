"""Create the tables of models and of maps between their bases; add the columns `basis` and `differences`."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables and add the columns. Projections in earlier rows are on the basis of the model in `model`."""
    op.create_table(
        "models",
        sa.Column("fingerprint", sa.String(32), primary_key=True),
        sa.Column("series", sa.String(32), nullable=False),
        sa.Column("served", sa.Float, nullable=False),
        sa.Column("encoder", sa.Text, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("basis", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "maps",
        sa.Column("source", sa.String(32), primary_key=True),
        sa.Column("target", sa.String(32), primary_key=True),
        sa.Column("matrix", sa.LargeBinary, nullable=False),
        sa.Column("explained", sa.Float, nullable=False),
        sa.Column("differences", sa.Integer, nullable=False),
    )
    op.add_column("updates", sa.Column("basis", sa.String(32)))
    op.add_column("updates", sa.Column("differences", sa.LargeBinary))
    # The primary keys begin with the model; a user is deleted for all models.
    op.create_index("users_by_id", "users", ["user_id"])
    op.create_index("updates_by_user", "updates", ["user_id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE updates ALTER COLUMN differences SET STATISTICS 0")
