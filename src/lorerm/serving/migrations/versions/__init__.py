"""One module for each migration; a published migration is never changed."""
