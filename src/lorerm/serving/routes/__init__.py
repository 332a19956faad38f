"""Routes of the HTTP API: each reads a request, calls the objects of `lorerm.serving.state`, and returns a response."""
