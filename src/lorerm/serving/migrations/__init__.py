"""Database migrations for Alembic: each changes the tables from one version to the next."""
