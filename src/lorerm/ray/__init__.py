"""The same work on more than one process or machine: Ray."""
