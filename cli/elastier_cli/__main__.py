"""`python -m elastier_cli` is the `elastier` command."""

from elastier_cli.main import main

main()
