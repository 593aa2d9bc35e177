"""What OpenAI's requests have in common, as they arrive, and how a mistake in one is named.

The lists below and those beside each request are the whole contract: what is taken, what is
refused by name, and that anything else is ignored. Nothing that a client sends is passed on as it
came; an engine only ever sees an `Ask`. (``reasoning``-like and most sampling fields of other
servers, ``store``, ``service_tier``, ``prompt_cache_key`` and the like are among the ignored.)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeVar

import msgspec

from arbiter.errors import BadRequest, InvalidField, Unsupported
from arbiter.gateway.allowed import words_at
from arbiter.gateway.body import parse_json
from arbiter.gateway.extras import Extras, read_extras
from arbiter.gateway.security import Caller
from arbiter.inference import Auto, Message, Named, Pinned, Sampling, Target
from arbiter.pool.pinned_options import LoadOptions, load_options
from arbiter.refs import TaskName, is_short_digest, parse_name, parse_task

REFUSED = frozenset(
    {"api_base", "base_url", "api_key", "headers", "extra_body", "extra_headers", "extra_query"}
    | {"model_path", "trust_remote_code", "adapter", "n_discard", "chat_template_kwargs"}
)
"""Fields by which a request could choose where it goes or what a server runs: never ignored,
so that nobody believes that they were heeded."""

_STORED_NOTHING = "Nothing is stored here: send the earlier turns again."
_INSTEAD: Mapping[str, str] = {
    "best_of": "Ask for n answers, and choose among them.",
    "functions": "Send them as tools.",
    "function_call": "Send it as tool_choice.",
    "web_search_options": "Offer a tool of your own that searches.",
    "mcp_servers": "Have your program ask them, and offer what they can as tools.",
    "previous_response_id": _STORED_NOTHING,
    "conversation": _STORED_NOTHING,
    "context": _STORED_NOTHING,
    "template": "A version has its own: arbiter models add FILE NAME --chat-template FILE.",
}
"""What to do in place of a field that is refused."""

_PATH = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_MISSING = re.compile(r".*missing required field `(\w+)`", re.DOTALL)

_LOADING = ("num_ctx", "num_gpu", "num_thread", "num_batch")
_UNSAID = (None,) * len(_LOADING)

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Factor = Annotated[float, msgspec.Meta(gt=0, le=2)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
TokensOrAll = Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)]
"""-1 is no bound to LM Studio and llama.cpp, and to clients that were made for them."""
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
TopK = Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)]
Bias = Annotated[float, msgspec.Meta(ge=-100, le=100)]
LastTokens = Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)]
Stops = Annotated[list[str], msgspec.Meta(max_length=16)]


class StreamOptions(msgspec.Struct, frozen=True):
    """How a stream ends."""

    include_usage: bool | None = None


class AnyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What every request may say."""

    model: str
    user: str | None = None
    metadata: dict[str, str] | None = None


class WritingRequest(AnyRequest, frozen=True, kw_only=True):
    """What a request for text may say.

    ``top_k``, ``min_p``, ``repeat_penalty``, ``repeat_last_n`` and ``typical_p`` are not OpenAI's:
    clients of llama.cpp, vLLM and Ollama send them. ``options`` and ``num_ctx`` with its like say
    how to load a model; they are counted and not heeded, whatever stands in them.
    """

    temperature: Temperature | None = None
    top_p: Probability | None = None
    seed: Seed | None = None
    max_tokens: TokensOrAll | None = None
    stop: str | Stops | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    top_k: TopK | None = None
    min_p: Probability | None = None
    repeat_penalty: Factor | None = None
    repeat_last_n: LastTokens | None = None
    typical_p: Probability | None = None
    logit_bias: dict[str, Bias] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    options: object = None
    num_ctx: object = None
    num_gpu: object = None
    num_thread: object = None
    num_batch: object = None

    @property
    def load_options(self) -> LoadOptions:
        """How the client would have the model loaded, as those of Ollama say it."""
        own = (self.num_ctx, self.num_gpu, self.num_thread, self.num_batch)
        given = self.options
        if given is None and own == _UNSAID:
            return ()
        nested = list(given.items()) if isinstance(given, dict) else []
        return load_options([*nested, *zip(_LOADING, own, strict=True)])

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with its usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


_Kind = TypeVar("_Kind", bound=msgspec.Struct)


def read_request(
    body: bytes,
    kind: type[_Kind],
    unsupported: Mapping[str, tuple[object, ...]],
    *,
    takes: frozenset[str] = frozenset(),
) -> _Kind:
    """The request in a body. Raises `BadRequest` naming the field that cannot be served.

    unsupported: fields that would change the answer and that this door does not pass on yet, each
    with the values that ask for nothing. takes: of those that are refused everywhere, the ones of
    which this request understands a part.
    """
    value = parse_json(body)
    if not REFUSED.isdisjoint(value):
        for name in sorted((REFUSED & value.keys()) - takes):
            raise InvalidField(f"{name} may not be set by a request.", param=name)
    for name in value.keys() & unsupported.keys():
        if value[name] not in unsupported[name]:
            hint = _INSTEAD.get(name)
            raise Unsupported(f"{name} is not supported here yet.", hint=hint, param=name)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _named(str(error), kind) from None


def _named(text: str, kind: type[msgspec.Struct]) -> BadRequest:
    """What msgspec says, as an error that names the field as OpenAI does."""
    match = _PATH.fullmatch(text)
    what, path = (match[1], match[2] or "") if match else (text, "")
    missing = _MISSING.fullmatch(what)
    if missing:
        path = f"{path}.{missing[1]}" if path else missing[1]
        return InvalidField(f"{path} is missing.", param=path)
    words = words_at(kind, path) if what.startswith("Invalid enum value") else ()
    hint = f"It is one of: {', '.join(words)}." if words else None
    return InvalidField(f"{path or 'The body'}: {what:.200}.", hint=hint, param=path or None)


def read_whom(
    request: AnyRequest, headers: Mapping[str, str]
) -> tuple[Target, TaskName | None, Extras]:
    """Who is to answer, at which task, and what else is said to the house.

    What the headers say comes before the metadata.
    """
    target, task = read_target(request.model)
    extras = read_extras(headers, request.metadata)
    if task is not None and extras.task is not None and task != extras.task:
        raise InvalidField(
            f"The model says task {task}, and task says {extras.task}.", param="task"
        )
    return target, task or extras.task, extras


def read_target(model: str) -> tuple[Target, TaskName | None]:
    """What ``model`` asks for, and the task when it names one.

    >>> read_target("gemma3n:e2b@sha256:0123abcd")[0]
    Pinned(name='gemma3n:e2b', digest_prefix='0123abcd')
    >>> read_target("task:triage")
    (Auto(), 'triage')
    """
    if model == "auto":
        return Auto(), None
    if model.startswith("task:"):
        return Auto(), parse_task(model.removeprefix("task:"))
    name, pinned, digest = model.partition("@")
    if not pinned:
        return Named(name=parse_name(model, what="model")), None
    prefix = digest.removeprefix("sha256:")
    if not is_short_digest(prefix):
        raise InvalidField(
            f"{digest!r:.80} is not the beginning of a version.",
            hint="Give at least six of its hexadecimal digits.",
            param="model",
        )
    return Pinned(name=parse_name(name, what="model"), digest_prefix=prefix), None


def read_sampling(
    request: WritingRequest, *, max_tokens: int | None, odds: int | None = None
) -> Sampling:
    """How tokens are to be chosen. max_tokens, odds: as each request names them.

    Raises `InvalidField`.
    """
    if max_tokens is not None and max_tokens < 1:
        if max_tokens == 0:
            raise _no_tokens(request)
        max_tokens = None
    stop = request.stop or ()
    stops = (stop,) if isinstance(stop, str) else tuple([text for text in stop if text])
    top_k = request.top_k
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        max_tokens=max_tokens,
        stop=stops,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        # every server takes 0 for all tokens; -1 means so to some, and nothing to others
        top_k=0 if top_k == -1 else top_k,
        min_p=request.min_p,
        repeat_penalty=request.repeat_penalty,
        repeat_last_n=request.repeat_last_n,
        typical_p=request.typical_p,
        bias=_bias(request) if request.logit_bias else (),
        odds=odds,
    )


def _no_tokens(request: WritingRequest) -> InvalidField:
    newer = "max_completion_tokens"
    name = newer if getattr(request, newer, None) == 0 else "max_tokens"
    return InvalidField(f"{name} is at least 1, or -1 for no bound.", param=name)


def _bias(request: WritingRequest) -> tuple[tuple[int, float], ...]:
    """Tokens that are to be more or less likely: those of one model, whoever it is."""
    if isinstance(read_target(request.model)[0], Auto):
        raise InvalidField(
            "logit_bias names tokens, and every model has others.",
            hint="Name the model too.",
            param="logit_bias",
        )
    found = []
    for token, bias in (request.logit_bias or {}).items():
        if not token.isdecimal() or len(token) > 9:
            raise InvalidField(f"{token!r:.40} is no token id.", param="logit_bias")
        found.append((int(token), bias))
    return tuple(found)


def beginning_of(messages: Sequence[Message]) -> tuple[str, ...]:
    """How a conversation began: it stays the same in its later turns."""
    system = [message.content for message in messages if message.role == "system"]
    first = [message.content for message in messages if message.role == "user"][:1]
    return (*system, "\0", *first)


def conversation_of(
    request: AnyRequest, extras: Extras, caller: Caller, beginning: tuple[str, ...]
) -> str:
    """What tells this conversation from another: what the client says, or how it began.

    NUL cannot be in any of the parts, so no two beginnings run together to the same text.
    """
    return extras.conversation or request.user or _hashed(caller.id, *beginning)


def talk_of(request: AnyRequest, extras: Extras, beginning: tuple[str, ...]) -> str | None:
    """One of the many conversations of a user whose client names only the user; else None."""
    if extras.conversation or not request.user:
        return None
    return _hashed(request.user, *beginning)


def _hashed(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
