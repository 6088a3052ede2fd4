"""A/B experiments: the configuration, the assignment of units to arms, and what counts as an exposure."""
