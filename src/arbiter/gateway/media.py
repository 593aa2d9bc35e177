"""Pictures and sounds as clients send them, checked: base64 in the request, never an address.

Nothing is fetched for a client: an address in a request would let it make the house ask anybody
anything. Nothing is decoded here but the first bytes of a picture whose form nobody named.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NotBase64
from typing import Final

from arbiter.errors import InvalidField, Unsupported
from arbiter.inference import Media

_PICTURES: Final = frozenset({"png", "jpeg", "gif", "webp"})
_SOUNDS: Final = frozenset({"wav", "mp3", "flac", "ogg"})
_DATA_URL: Final = re.compile(r"data:image/([a-z0-9.+-]{1,20});base64,", re.IGNORECASE)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]++={0,2}")
_BEGINNINGS: Final = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"))
_HEAD: Final = 16


def read_picture(data: str, where: str, *, form: str | None = None) -> Media:
    """A picture in base64. form: ``png``, ``jpeg``, ...; None has it found out by its beginning.

    Raises `InvalidField`, `Unsupported`.
    """
    head = _checked(data, where)
    form = (_form(head) if form is None else form.lower()).replace("jpg", "jpeg")
    if form not in _PICTURES:
        raise Unsupported(
            f"A picture of the form {form!r:.30} is not supported here.",
            hint=f"Send one of: {', '.join(sorted(_PICTURES))}.",
            param=where,
        )
    return Media(kind="image", format=form, data=data)


def read_picture_url(url: str, where: str) -> Media:
    """A picture in a ``data:`` URL. Raises `Unsupported` for any other: nothing is fetched."""
    found = _DATA_URL.match(url)
    if found is None:
        raise Unsupported(
            "The house fetches nothing for a client.",
            hint="Send the picture itself: data:image/png;base64,...",
            param=where,
        )
    return read_picture(url[found.end() :], where, form=found[1])


def read_sound(data: str, form: str, where: str) -> Media:
    """A sound in base64. Raises `InvalidField`, `Unsupported`."""
    _checked(data, where)
    if form not in _SOUNDS:
        raise Unsupported(
            f"A sound of the form {form!r:.30} is not supported here.",
            hint=f"Send one of: {', '.join(sorted(_SOUNDS))}.",
            param=where,
        )
    return Media(kind="audio", format=form, data=data)


def _checked(data: str, where: str) -> bytes:
    """The first bytes of what is in base64. Raises `InvalidField` when it is not."""
    if len(data) % 4 or not _BASE64.fullmatch(data):
        raise InvalidField("This is not base64.", param=where)
    try:
        return b64decode(data[:_HEAD])
    except NotBase64:
        raise InvalidField("This is not base64.", param=where) from None


def _form(head: bytes) -> str:
    """The form of a picture, by its first bytes.

    >>> _form(b"RIFF....WEBP")
    'webp'
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return next((form for begins, form in _BEGINNINGS if head.startswith(begins)), "unknown")
