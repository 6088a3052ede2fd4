"""From a trained TA to a bundle of tiers."""
