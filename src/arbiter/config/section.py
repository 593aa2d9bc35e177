"""What sections of settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from arbiter.addresses import parse_address
from arbiter.errors import InvalidField


class Section(BaseModel):
    """Settings that belong together. What it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def address(text: str) -> str:
    """An address as the house writes it. Raises `ValueError`, which pydantic makes a field's error.

    >>> address("LocalHost:11434/")
    'http://127.0.0.1:11434'
    """
    try:
        return parse_address(text)
    except InvalidField as error:
        raise ValueError(error.sentence.rstrip(".")) from error
