"""What an OpenAI-compatible server is and what it offers, learned by asking it harmless questions.

No question makes a server load a model or do work: all are GETs, but for one empty request that
a llama-server refuses, in words that tell whether it makes vectors. What a server does not say
stays unknown. How each kind describes its models is in `arbiter.engines.openai_offers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from arbiter.engines import openai_facts as facts
from arbiter.engines.base import Offer, Site
from arbiter.engines.openai_facts import Entry, Told
from arbiter.engines.openai_offers import OFFERS_OF
from arbiter.engines.openai_refusal import printable, words_of
from arbiter.engines.openai_request import EMBEDDINGS
from arbiter.engines.remote import Remote, Response
from arbiter.errors import KeyRefused, NotThisKind, ServerGone

LIST: Final = "/v1/models"
LIST_S: Final = 2.0
PROBE_S: Final = 1.0

_LARGEST_LIST: Final = 8 * 1024 * 1024
_MOST_MODELS: Final = 1000
_MOST_PROBED: Final = 16
_LONGEST_NAME: Final = 400
_BY_OWNER: Final[Mapping[str, str]] = {
    "llamacpp": facts.LLAMA_SERVER,
    "vllm": facts.VLLM,
    "sglang": facts.SGLANG,
    "docker": facts.DOCKER,
    "lemonade": facts.LEMONADE,
}


def server_root(url: str) -> str:
    """A server's address without the part that every OpenAI path begins with.

    >>> server_root("http://127.0.0.1:8000/v1/"), server_root("http://127.0.0.1:12434/engines/v1")
    ('http://127.0.0.1:8000', 'http://127.0.0.1:12434/engines')
    """
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


class _Silence(Exception):
    """A question had no answer at all this time, which is not the same as an answer of no."""


async def list_models(remote: Remote, *, has_key: bool) -> tuple[Entry, ...] | None:
    """What the server lists; None while it is still loading.

    Raises `ServerGone` when nobody answers, and what `entries_of` raises.
    """
    try:
        response = await remote.get(LIST, silence_s=LIST_S)
    except TimeoutError as error:
        raise ServerGone(
            f"Something listens at {remote.url}, and did not answer within {LIST_S:.0f} s."
        ) from error
    except OSError as error:
        raise ServerGone(f"Nobody answers at {remote.url} ({_why(error)}).") from error
    except ValueError as error:
        raise NotThisKind(f"What answers at {remote.url} speaks no HTTP.") from error
    return entries_of(response, url=remote.url, has_key=has_key)


def entries_of(response: Response, *, url: str, has_key: bool) -> tuple[Entry, ...] | None:
    """What is listed in an answer; None while the server is still loading.

    Raises `NotThisKind` for what is no list of models, and `KeyRefused` when the server wants a
    key, or another one.
    """
    if response.status in {401, 403}:
        does = "refuses the key that it was sent" if has_key else "wants a key"
        raise KeyRefused(
            f"The server at {url} {does}.",
            hint=f'Set it in the settings: [discovery.keys] "{url}" = "...".',
        )
    if response.status == 503 and "loading" in words_of(response.body).lower():
        return None
    listed = facts.fields_of(_read(response)).get("data") if response.status == 200 else None
    if not isinstance(listed, list):
        raise NotThisKind(_what_answered(url, response))
    return tuple(entry for entry in listed if isinstance(entry, dict))


async def look_at(
    remote: Remote, *, engine: str, has_key: bool, connect: Callable[[str], Remote]
) -> Site:
    """What answers there. connect: reaches another path of it. Raises as `list_models`."""
    entries = await list_models(remote, has_key=has_key)
    if entries is None:
        return Site(
            engine=engine,
            url=remote.url,
            kind=facts.LLAMA_SERVER,
            version=None,
            offers=(),
            trouble=("It is still loading its model.",),
        )
    try:
        kind, told = await _ask_around(remote, entries, connect)
    except _Silence as error:
        # what is only half known would look like another model than the last time
        return Site(
            engine=engine,
            url=remote.url,
            kind=facts.GENERIC,
            version=None,
            offers=(),
            unread=frozenset(name for name, _ in facts.named(entries)),
            trouble=(f"It lists models, and was silent when it was asked for {error}.",),
        )
    site = OFFERS_OF[kind](entries[:_MOST_MODELS], told)
    trouble = list(site.trouble)
    if len(entries) > _MOST_MODELS:
        trouble.append(f"It lists {len(entries)} models; the first {_MOST_MODELS} are shown.")
    return Site(
        engine=engine,
        url=remote.url,
        kind=kind,
        version=site.version,
        offers=_once(site.offers, trouble),
        trouble=tuple(trouble),
    )


async def _ask_around(
    remote: Remote, entries: Sequence[Entry], connect: Callable[[str], Remote]
) -> tuple[str, Told]:
    """Which kind it is, and what it answered to the questions for that kind."""
    owners = {entry.get("owned_by") for entry in entries}
    if "arbiter" in owners:
        told = await _ask(remote, "/")
        if facts.is_arbiter(told.get("/")):
            return facts.ARBITER, told
    kind = next((kind for owner, kind in _BY_OWNER.items() if owners == {owner}), None)
    if kind == facts.DOCKER:
        return kind, await _ask_beside(remote, "/models", connect)
    if kind is not None:
        return kind, await _ask_kind(remote, kind, entries)
    told = await _ask(remote, "/", "/api/v0/models", "/system", "/version", "/props")
    if isinstance(words := told.get("/"), str) and "Ollama" in words:
        raise NotThisKind(f"Ollama answers at {remote.url}; the engine ollama speaks to it.")
    return facts.kind_of(told), told


async def _ask_kind(remote: Remote, kind: str, entries: Sequence[Entry]) -> Told:
    match kind:
        case facts.LLAMA_SERVER if any("status" in entry for entry in entries):
            # a router: a question about a model that is not loaded must not load it
            paths = [facts.props_of(name) for name, e in facts.named(entries) if facts.is_loaded(e)]
            return await _ask(remote, *paths[:_MOST_PROBED])
        case facts.LLAMA_SERVER:
            told = await _ask(remote, "/props")
            if facts.fields_of(told.get("/props")).get("is_sleeping") is True:
                return told  # the refusal would wake it
            return {**told, EMBEDDINGS: await _refusal(remote)}
        case facts.VLLM:
            return await _ask(remote, "/version")
        case facts.SGLANG:
            return await _ask(remote, "/model_info", "/get_model_info")
        case _:
            return await _ask(remote, "/v1/health")


async def _ask_beside(remote: Remote, path: str, connect: Callable[[str], Remote]) -> Told:
    """Ask the same server outside the path under which its OpenAI part stands."""
    parts = urlsplit(remote.url)
    beside = connect(f"{parts.scheme}://{parts.netloc}")
    try:
        return await _ask(beside, path)
    finally:
        await beside.close()


async def _ask(remote: Remote, *paths: str) -> Told:
    """The answers to some questions at once: JSON, or text; absent when there was none."""
    answers = await asyncio.gather(*(_answer(remote, path) for path in paths))
    for answer in answers:
        if isinstance(answer, _Silence):
            raise answer
    return {path: answer for path, answer in zip(paths, answers, strict=True) if answer is not None}


async def _refusal(remote: Remote) -> object:
    """What a llama-server says to a request for the vectors of nothing."""
    try:
        response = await remote.post(EMBEDDINGS, b"{}", silence_s=PROBE_S)
    except (OSError, TimeoutError) as error:
        raise _Silence(EMBEDDINGS) from error
    except ValueError:
        return None
    return {"status": response.status, "words": words_of(response.body)}


async def _answer(remote: Remote, path: str) -> object:
    try:
        response = await remote.get(path, silence_s=PROBE_S)
    except (OSError, TimeoutError):
        return _Silence(path)
    except ValueError:
        return None
    return _read(response) if response.status == 200 else None


def _read(response: Response) -> object:
    """The JSON of an answer, or its text when it is none."""
    if len(response.body) > _LARGEST_LIST:
        return None
    try:
        return msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return printable(response.body[:2000].decode("utf-8", "replace"))


def _once(found: Sequence[Offer], trouble: list[str]) -> tuple[Offer, ...]:
    """The offers that can be asked for by name, each name once; what is left out is told."""
    kept: dict[str, Offer] = {}
    for offer in found:
        if not offer.model.isprintable() or len(offer.model) > _LONGEST_NAME:
            trouble.append(
                f"A model's name cannot be used: {printable(offer.model, longest=80)!r}."
            )
        elif offer.model in kept:
            trouble.append(f"It lists {offer.model!r} more than once.")
        else:
            kept[offer.model] = offer
    return tuple(kept.values())


def _what_answered(url: str, response: Response) -> str:
    kind = printable(response.headers.get("Content-Type", "nothing"), longest=60)
    if 300 <= response.status < 400:
        where = printable(response.headers.get("Location", "nowhere"), longest=120)
        return (
            f"What answers at {url} has no list of models: it redirects to {where}, which is not "
            f"followed."
        )
    begins = printable(response.body[:400].decode("utf-8", "replace"), longest=80)
    body = f"{begins!r}" if begins else "an empty body"
    return f"What answers at {url} has no list of models: status {response.status}, {kind}, {body}."


def _why(error: OSError) -> str:
    return printable(str(error.strerror or error), longest=120).lower() or "no connection"
