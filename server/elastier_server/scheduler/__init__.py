"""Which request runs next, on which tier: pure decisions about a queue, a clock and a cost model."""
