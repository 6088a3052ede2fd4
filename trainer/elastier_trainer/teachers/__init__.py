"""Teachers: training one, and asking any kind of one for the logits that TA and students learn from."""
