"""Open-loop load tests of a running server."""
