"""What Alembic runs: the steps that are missing, on the connection that it is given, in one transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"], transactional_ddl=True, transaction_per_migration=False
)
with context.begin_transaction():
    context.run_migrations()
