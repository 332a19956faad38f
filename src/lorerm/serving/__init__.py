"""HTTP server for personal rewards. It updates a user's weights with their feedback, and has a web page to try it."""
