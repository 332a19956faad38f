"""Migrations of the database: steps from each version of its tables to the next."""
