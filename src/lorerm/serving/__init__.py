"""HTTP server: personal rewards, user weights that are updated by each request with feedback, and a page to try it."""
