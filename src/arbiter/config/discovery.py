"""The section ``discovery``: where it looks for models."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from arbiter.config.section import Section, address


class DiscoverySettings(Section):
    """Models that are there already: servers that run, folders of files."""

    enabled: bool = Field(True, description="Whether `arbiter up` looks for models.")
    usual: bool = Field(
        True, description="Look at the usual ports of this machine and the usual folders too."
    )
    servers: tuple[str, ...] = Field(
        (), description="Addresses of further servers, of this machine or of another."
    )
    folders: tuple[Path, ...] = Field((), description="Further folders of model files.")
    register_found: Literal["all", "servers", "none"] = Field(
        "all", description="What to register of what was found; the rest is only shown."
    )
    every_s: float = Field(
        15.0, ge=1, description="Look again this often; a server's loss is noticed at once."
    )
    keys: dict[str, str] = Field(
        default_factory=dict, description="The key to send to a server, by its address."
    )
    alike: tuple[tuple[str, ...], ...] = Field(
        (),
        description="Groups of servers that run the same models: what two of a group claim alike "
        "is one version, and both serve it. Servers that tell digests need none.",
    )
    options: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="Options to load a server's model with, by its name there, such as num_ctx; "
        "other options are another version.",
    )

    @field_validator("servers")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(address(url) for url in value)

    @field_validator("alike")
    @classmethod
    def _groups(cls, value: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        groups = tuple(tuple(address(url) for url in group) for group in value)
        urls = [url for group in groups for url in group]
        if len(urls) != len(set(urls)):
            raise ValueError("a server is in one group, once")
        return groups

    def firsts(self) -> dict[str, str]:
        """By its address, the first server of the group of each server that is in one.

        >>> DiscoverySettings(alike=(("http://a:1", "http://b:1"),)).firsts()
        {'http://a:1': 'http://a:1', 'http://b:1': 'http://a:1'}
        """
        return {url: group[0] for group in self.alike for url in group}

    @field_validator("folders")
    @classmethod
    def _folders(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        try:
            return tuple(folder.expanduser().absolute() for folder in value)
        except RuntimeError as error:
            raise ValueError("it names the home of nobody here") from error

    @field_validator("keys")
    @classmethod
    def _keys(cls, value: dict[str, str]) -> dict[str, str]:
        return {address(url): key for url, key in value.items()}
