"""What runs a tier's graph."""
