"""Script that Alembic runs: it applies the missing migrations on the given connection, in one transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"], transactional_ddl=True, transaction_per_migration=False
)
with context.begin_transaction():
    context.run_migrations()
