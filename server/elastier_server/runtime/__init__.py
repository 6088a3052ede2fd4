"""A bundle as a model that answers: queue, worker and engine together."""
