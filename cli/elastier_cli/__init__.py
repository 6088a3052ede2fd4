"""The `elastier` command."""
