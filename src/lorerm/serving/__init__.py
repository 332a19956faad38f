"""HTTP server: personal rewards, users who are updated as their feedback arrives, and a page to try it."""
