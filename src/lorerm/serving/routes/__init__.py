"""The routes, thin: each reads a request, asks for the work, and writes the answer."""
