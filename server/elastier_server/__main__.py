"""`python -m elastier_server BUNDLE...`: the server where there is no `elastier` command, as in its image."""

import argparse
import sys

from elastier_contract.errors import ElastierError
from elastier_server.main import serve
from elastier_server.settings import load_settings


def main() -> None:
    """Serve the bundles named on the command line; all else comes from ELASTIER_* in the environment."""
    parser = argparse.ArgumentParser(prog="python -m elastier_server", description=main.__doc__)
    parser.add_argument("bundles", nargs="+", help="bundle folders")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on, 0 for a free one")
    given = vars(parser.parse_args())
    try:
        serve(load_settings(**given))
    except ElastierError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


main()
