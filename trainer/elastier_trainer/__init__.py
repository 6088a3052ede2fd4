"""Training of nested models by the MatTA recipe (arXiv 2505.23337)."""
