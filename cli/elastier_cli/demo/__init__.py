"""`elastier demo`: from flight data to served tiers, the whole way."""
