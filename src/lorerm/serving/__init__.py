"""Personal rewards over HTTP: the API, what it keeps of people, and a page to try it with."""
