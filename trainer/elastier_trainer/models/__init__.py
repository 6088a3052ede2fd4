"""The models that Elastier trains."""
