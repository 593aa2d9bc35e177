"""Ollama: models that a server of that name offers, at an address that somebody runs it at.

Nothing is started here. A model is loaded and unloaded by asking the server for it, and what was
loaded before the house came is left as it was found. Nothing is assumed of a model that its server
does not say, and models that the server would have run elsewhere are not offered: local first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from arbiter.engines.base import (
    Availability,
    EngineContext,
    LoadSpec,
    Offer,
    Place,
    PullingEngine,
    PullStep,
    Site,
)
from arbiter.engines.ollama_listing import (
    HOUSE,
    RUNNING,
    Process,
    Shown,
    Tag,
    footprint,
    loaded,
    offer,
    parse_processes,
    parse_shown,
    parse_tags,
    parse_version,
    tagged,
)
from arbiter.engines.ollama_request import Pinned, encode_load, read_options
from arbiter.engines.ollama_runner import OllamaRunner, Patience, changed
from arbiter.engines.ollama_wire import Lines, error_words, parse_step
from arbiter.engines.openai_refusal import printable
from arbiter.engines.openai_wire import ReportedError
from arbiter.engines.remote import Remote, Response
from arbiter.errors import EngineError, LoadFailed, NotOffered, NotThisKind, ServerGone

_AT_ONCE: Final = 8
_MOST_KNOWN: Final = 4096
_TALKS: Final = frozenset({"chat", "completion"})
_LOOK_AGAIN: Final = "Run: arbiter models discover"


def engine(context: EngineContext) -> PullingEngine:
    """The entry point."""
    return OllamaEngine(context)


class OllamaEngine:
    """Speaks to Ollama servers.

    Options of a `LoadSpec`: those for which Ollama loads a model again (``num_ctx``,
    ``num_batch``, ``num_gpu``, ``main_gpu``, ``num_thread``, ``use_mmap``) and ``keep_alive``.
    They go with every request of the version; a version without them leaves all to the server.
    """

    name = "ollama"
    formats = frozenset({"ollama"})
    features = frozenset({"json"})
    usual = (("Ollama", "http://127.0.0.1:11434"),)

    def __init__(
        self,
        context: EngineContext,
        *,
        patience: Patience | None = None,
    ) -> None:
        self._keys = context.keys
        waits = context.waits.said(first_s="first_s", next_s="next_s", whole_s="whole_s")
        self._patience = patience or Patience(**waits)
        self._known: dict[tuple[str, str, str], Shown] = {}

    def availability(self) -> Availability:
        """It needs nothing but a server to speak to."""
        return Availability(available=True, reason="speaks to Ollama servers")

    async def look(self, url: str) -> Site:
        """What answers at this address. See `arbiter.engines.base.ServerEngine`."""
        remote = self._remote(url)
        until = asyncio.get_running_loop().time() + self._patience.look_s
        try:
            async with asyncio.timeout_at(until):
                version = await self._version(remote, is_looked_at=True)
                tags = await self._tags(remote)
            processes = await self._processes(remote, until)
            found = await self._described(remote, version, tags, until=until)
        except TimeoutError as error:
            raise ServerGone("It answers, but too slowly to be used.") from error
        finally:
            await remote.close()
        offers, trouble = _sorted_out(found, processes)
        if processes is None:
            trouble.append("It did not say which models are loaded.")
        return Site(
            engine=self.name,
            url=url,
            kind="Ollama",
            version=version,
            offers=tuple(offers),
            unread=frozenset(tag.title for tag, told in found if isinstance(told, str) and told),
            trouble=tuple(trouble),
        )

    async def load(self, spec: LoadSpec) -> OllamaRunner:
        """Have the first place that is there load the version.

        Raises `ServerGone` when no place answers, `NotOffered` when none that does has it any
        more, and `LoadFailed` with what each of them said.
        """
        pinned = read_options(spec.options)
        troubles: list[LoadFailed] = []
        for place in spec.places:
            try:
                return await self._load_at(place, spec, pinned)
            except LoadFailed as error:
                troubles.append(error)
        words = " ".join(error.message for error in troubles)
        hint = next((error.hint for error in troubles if error.hint is not None), None)
        if all(isinstance(error, ServerGone) for error in troubles):
            raise ServerGone(words or "No server is known to offer this model.", hint=hint)
        if all(isinstance(error, ServerGone | NotOffered) for error in troubles):
            raise NotOffered(words, hint=hint)
        raise LoadFailed(words, hint=hint)

    async def pull(self, url: str, model: str) -> AsyncGenerator[PullStep, None]:
        """Have the server fetch a model, step by step. Raises `EngineError` with its words."""
        remote, lines, is_done = self._remote(url), Lines(), False
        body = msgspec.json.encode({"model": model, "stream": True})
        try:
            with await remote.ask(
                "POST", "/api/pull", body, silence_s=self._patience.pull_s
            ) as stream:
                words = error_words(await stream.receive_all()) if stream.status != 200 else ""
                while not words and (data := await stream.receive()):
                    for line in lines.feed(data):
                        step = parse_step(line)
                        is_done = step.status == "success"
                        yield step
        except (OSError, ValueError, ReportedError) as error:
            raise EngineError(f"{url} could not pull {model}: {error}.") from error
        finally:
            await remote.close()
        if not is_done:
            words = words or "it ended before it was done"
            raise EngineError(f"{url} could not pull {model}: {words}.")

    async def copy(self, url: str, model: str, under: str) -> None:
        """Give a model's content another name too. Raises `EngineError` with the server's words."""
        body = msgspec.json.encode({"source": model, "destination": under})
        await self._change(url, "POST", "/api/copy", body, what=f"copy {model} to {under}")

    async def drop(self, url: str, model: str) -> None:
        """Take a name away from a model. Raises `EngineError` with the server's words."""
        body = msgspec.json.encode({"model": model})
        await self._change(url, "DELETE", "/api/delete", body, what=f"drop {model}")

    async def _change(self, url: str, method: str, path: str, body: bytes, *, what: str) -> None:
        remote = self._remote(url)
        try:
            with await remote.ask(method, path, body, silence_s=self._patience.change_s) as stream:
                answer = await stream.receive_all()
                words = None if stream.status == 200 else error_words(answer)
        except (OSError, ValueError) as error:
            words = str(error)
        finally:
            await remote.close()
        if words is not None:
            raise EngineError(f"{url} could not {what}: {words}.")

    def _remote(self, url: str) -> Remote:
        return Remote(url, key=self._keys.get(url))

    async def _version(self, remote: Remote, *, is_looked_at: bool = False) -> str:
        """What the server calls its version. Raises `NotThisKind`, `ServerGone`.

        is_looked_at: another house is left to the engine that can pin a version there.
        """
        try:
            response = await remote.get("/api/version", silence_s=self._patience.step_s)
            root = await remote.get("/", silence_s=self._patience.step_s)
        except TimeoutError as error:
            raise ServerGone(f"It is silent: no answer in {self._patience.step_s:g} s.") from error
        except OSError as error:
            raise ServerGone(f"Nothing answers there: {_reason(error)}.") from error
        except ValueError as error:
            raise NotThisKind("It is no Ollama: it does not speak HTTP.") from error
        if response.status in {401, 403}:
            raise NotThisKind(
                f"It lets nobody in without a key (status {response.status}).",
                hint="Name it in discovery.keys.",
            )
        try:
            version = parse_version(response.body) if response.status == 200 else None
        except ValueError:
            version = None
        if is_looked_at and HOUSE in root.body:
            raise NotThisKind("It is a house like this one; the engine openai_server speaks to it.")
        if version is None or RUNNING not in root.body:
            raise NotThisKind(f"It is no Ollama: {_described_as(response)}.")
        return version

    async def _tags(self, remote: Remote) -> tuple[Tag, ...]:
        """The models that are there. Raises `ServerGone`: without them there is nothing to use."""
        try:
            response = await remote.get("/api/tags", silence_s=self._patience.step_s)
            # a refusal is a JSON object without the list, and so no list either
            return parse_tags(response.body)
        except (OSError, ValueError) as error:
            words = "silent" if isinstance(error, TimeoutError) else "not to be understood"
            raise ServerGone(f"It answers, but its list of models is {words}.") from error

    async def _processes(
        self, remote: Remote, until: float | None = None
    ) -> tuple[Process, ...] | None:
        """The models that are loaded; None when the server does not say."""
        try:
            async with asyncio.timeout_at(until):
                response = await remote.get("/api/ps", silence_s=self._patience.step_s)
            return parse_processes(response.body) if response.status == 200 else None
        except (OSError, ValueError):
            return None

    async def _described(
        self, remote: Remote, version: str, tags: tuple[Tag, ...], *, until: float
    ) -> list[tuple[Tag, Shown | str]]:
        """What each model is, or why that is not known. What was shown once is not asked again."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def described(tag: Tag) -> tuple[Tag, Shown | str]:
            key = (remote.url, version, tag.digest)
            known = self._known.get(key)
            if known is None and not tag.remote_host:
                async with turns:
                    told = await self._shown(remote, tag, until)
                if isinstance(told, str):
                    return tag, told
                known = self._know(key, told)
            return (tag, "") if known is None else (tag, known)

        return list(await asyncio.gather(*(described(tag) for tag in tags)))

    def _know(self, key: tuple[str, str, str], shown: Shown) -> Shown:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = shown
        return shown

    async def _shown(self, remote: Remote, tag: Tag, until: float) -> Shown | str:
        body = msgspec.json.encode({"model": tag.title})
        try:
            async with asyncio.timeout_at(until):
                response = await remote.post("/api/show", body, silence_s=self._patience.step_s)
            if response.status == 404:
                return f"{tag.shown} was gone before it could be described."
            if response.status != 200:
                return f"{tag.shown} is not described: {error_words(response.body)}."
            return parse_shown(response.body)
        except TimeoutError:
            return f"{tag.shown} was not described in time; it will be looked at again."
        except (OSError, ValueError):
            return f"What the server tells of {tag.shown} cannot be understood."

    async def _load_at(self, place: Place, spec: LoadSpec, pinned: Pinned) -> OllamaRunner:
        remote = self._remote(place.url)
        try:
            await self._check(remote, place, spec.digest)
            before = await self._processes(remote)
            await self._have_loaded(remote, place, spec, pinned)
            after = await self._processes(remote)
        except BaseException:
            await remote.close()
            raise
        process = loaded(place.model, spec.digest, after or ())
        return OllamaRunner(
            remote=remote,
            place=place,
            digest=spec.digest,
            pinned=pinned,
            patience=self._patience,
            reported=None if process is None else footprint(process),
            # when nobody knows what was loaded, it is somebody else's
            is_ours=before is not None and loaded(place.model, spec.digest, before) is None,
            thinks=not spec.capabilities or "thinking" in spec.capabilities,
        )

    async def _check(self, remote: Remote, place: Place, digest: str | None) -> None:
        """Raise `ServerGone` or `NotOffered` unless the place has what was registered."""
        try:
            await self._version(remote)
            tags = await self._tags(remote)
        except ServerGone as error:
            raise ServerGone(f"{place.url}: {error.message}") from error
        except NotThisKind as error:
            raise ServerGone(f"{place.url}: {error.message}", hint=error.hint) from error
        tag = next((tag for tag in tags if tag.title == place.model), None)
        if tag is None:
            raise NotOffered(f"{place.url} has no {place.model} any more.", hint=_LOOK_AGAIN)
        if digest is not None and tagged(tag.digest) != digest:
            raise NotOffered(changed(place, tagged(tag.digest), digest), hint=_LOOK_AGAIN)

    async def _have_loaded(
        self, remote: Remote, place: Place, spec: LoadSpec, pinned: Pinned
    ) -> None:
        only_embeds = "embedding" in spec.capabilities and not spec.capabilities & _TALKS
        path, body = encode_load(place.model, pinned, only_embeds=only_embeds)
        try:
            response = await remote.post(path, body, silence_s=self._patience.load_s)
        except TimeoutError as error:
            raise LoadFailed(
                f"{place.model} could not be loaded at {place.url} in {self._patience.load_s:g} s."
            ) from error
        except (OSError, ValueError) as error:
            raise ServerGone(f"{place.url} broke off while it loaded {place.model}.") from error
        if response.status != 200:
            words = error_words(response.body)
            raise LoadFailed(f"{place.model} could not be loaded at {place.url}: {words}.")


def _sorted_out(
    found: list[tuple[Tag, Shown | str]], processes: tuple[Process, ...] | None
) -> tuple[list[Offer], list[str]]:
    """What is offered, and why the rest is not."""
    offers: list[Offer] = []
    trouble: list[str] = []
    elsewhere: list[str] = []
    for tag, told in found:
        host = tag.remote_host or (told.remote_host if isinstance(told, Shown) else "")
        if host:
            elsewhere.append(f"{tag.shown} ({printable(host, longest=80)})")
        elif isinstance(told, str):
            trouble.append(told)
        elif tagged(tag.digest) is None:
            trouble.append(f"{tag.shown} has no digest, so nobody could tell when it changes.")
        else:
            offers.append(offer(tag, told, processes))
    if elsewhere:
        trouble.append(f"Not offered, because they run on another machine: {', '.join(elsewhere)}.")
    return offers, trouble


def _reason(error: OSError) -> str:
    return (str(error) or "the connection broke").rstrip(".").lower()


def _described_as(response: Response) -> str:
    """What answered instead, in a few words; headers may hold anything."""
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    server = response.headers.get("Server", "")
    seen = [f"/api/version gives status {response.status}"]
    seen += [f"{kind!r:.60}"] if kind else []
    seen += [f"from {server!r:.60}"] if server else []
    return ", ".join(seen)
