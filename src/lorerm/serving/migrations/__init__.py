"""The database's form, as steps from each version to the next."""
