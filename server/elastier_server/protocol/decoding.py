"""JSON that comes from outside: every way in which it can be wrong becomes one error of ours."""

from typing import TypeVar

import msgspec

from elastier_server.errors import InvalidRequestError

T = TypeVar("T")


def decode(
    decoder: msgspec.json.Decoder[T], content: bytes | msgspec.Raw, *, root: str = "body", where: str = ""
) -> T:
    """Decode JSON by a typed decoder.

    Args:
        decoder: What is expected.
        content: What came.
        root: What the content is called in the path to a wrong value.
        where: What the message begins with.

    Raises:
        InvalidRequestError: Not JSON, or not of that type.
    """
    prefix = f"{where}: " if where else ""
    try:
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"{prefix}{str(error).replace('`$', f'`{root}')}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{prefix}malformed JSON: {error}") from None
    except RecursionError:
        raise InvalidRequestError(f"{prefix}malformed JSON: nested too deeply") from None
