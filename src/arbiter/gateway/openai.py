"""OpenAI's chat requests, as they arrive, and what the house makes of them.

The lists below are the whole contract: what is taken, what is refused by name, and that anything
else is ignored. Nothing that a client sends is passed on as it came; an engine only ever sees an
`Ask`. (``reasoning``-like and sampling fields of other servers, ``store``, ``service_tier``,
``parallel_tool_calls``, ``prompt_cache_key`` and the like are among the ignored.)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from arbiter.errors import BadRequest, InvalidField, Unsupported
from arbiter.gateway.body import parse_json
from arbiter.gateway.extras import Extras, read_extras
from arbiter.gateway.security import Caller
from arbiter.inference import Ask, Auto, Chat, Message, Named, Pinned, Role, Sampling, Target
from arbiter.refs import TaskName, is_short_digest, parse_name, parse_task

REFUSED = frozenset(
    {"api_base", "base_url", "api_key", "headers", "extra_body", "extra_headers", "extra_query"}
    | {"model_path", "trust_remote_code", "adapter", "n_discard", "chat_template_kwargs"}
)
"""Fields by which a request could choose where it goes or what a server runs: never ignored,
so that nobody believes that they were heeded."""

UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "audio": (None,),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "modalities": (None, ["text"]),
    "n": (None, 1),
    "prediction": (None,),
    "reasoning_effort": (None,),
    "response_format": (None, {"type": "text"}),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "verbosity": (None,),
    "web_search_options": (None,),
}
"""Fields that would change the answer and that this door does not pass on yet, each with the
values that ask for nothing."""

_UNSUPPORTED_IN_MESSAGES = ("tool_calls", "function_call", "audio")

_PATH = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_MISSING = re.compile(r".*missing required field `(\w+)`", re.DOTALL)

MAX_MESSAGES = 4096

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Stops = Annotated[list[str], msgspec.Meta(max_length=16)]


class Part(msgspec.Struct, frozen=True):
    """A part of a message's content; only text is passed on."""

    type: str
    text: str | None = None


class WireMessage(msgspec.Struct, frozen=True):
    """A message as it arrives."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    tool_calls: object = None
    function_call: object = None
    audio: object = None


class StreamOptions(msgspec.Struct, frozen=True):
    """How a stream ends."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True):
    """A chat completion request: the fields that mean something here."""

    model: str
    messages: Annotated[list[WireMessage], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    temperature: Temperature | None = None
    top_p: Probability | None = None
    seed: Seed | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    stop: str | Stops | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with its usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def read_chat(body: bytes) -> ChatRequest:
    """The request in a body. Raises `BadRequest` naming the field that cannot be served."""
    value = parse_json(body)
    if not REFUSED.isdisjoint(value):
        name = min(REFUSED & value.keys())
        raise InvalidField(f"{name} may not be set by a request.", param=name)
    for name in value.keys() & UNSUPPORTED.keys():
        if value[name] not in UNSUPPORTED[name]:
            raise Unsupported(f"{name} is not supported here yet.", param=name)
    try:
        return msgspec.convert(value, ChatRequest)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from None


def _named(text: str) -> BadRequest:
    """What msgspec says, as an error that names the field as OpenAI does."""
    match = _PATH.fullmatch(text)
    what, path = (match[1], match[2] or "") if match else (text, "")
    missing = _MISSING.fullmatch(what)
    if missing:
        path = f"{path}.{missing[1]}" if path else missing[1]
    return InvalidField(f"{path or 'The body'}: {what:.200}.", param=path or None)


def ask_of(request: ChatRequest, extras: Mapping[str, str], caller: Caller) -> Ask:
    """The request as the house understands it; what its headers say comes before its metadata."""
    target, task = read_target(request.model)
    more = read_extras(extras, request.metadata)
    if task is not None and more.task is not None and task != more.task:
        raise InvalidField(f"The model says task {task}, and task says {more.task}.", param="task")
    messages = tuple([_message(message, index) for index, message in enumerate(request.messages)])
    return Ask(
        target=target,
        work=Chat(messages=messages),
        sampling=_sampling(request),
        stream=bool(request.stream),
        task=task or more.task,
        limits=more.limits,
        conversation=_conversation(request, more, messages, caller),
        expected=more.expected,
        caller=caller.id,
    )


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


def _message(message: WireMessage, index: int) -> Message:
    if message.role == "tool" or message.role == "function":  # noqa: PLR1714  # narrows the type
        raise Unsupported(
            f"Messages of the role {message.role} are not supported here yet.",
            param=f"messages[{index}].role",
        )
    for name in _UNSUPPORTED_IN_MESSAGES:
        if getattr(message, name):
            raise Unsupported(
                f"{name} is not supported here yet.", param=f"messages[{index}].{name}"
            )
    role: Role = "system" if message.role == "developer" else message.role
    content = message.content
    if isinstance(content, list):
        content = "\n".join([_text(part, index, place) for place, part in enumerate(content)])
    if content is None:
        if role != "assistant":
            raise InvalidField("A message needs content.", param=f"messages[{index}].content")
        content = ""
    return Message(role=role, content=content)


def _text(part: Part, index: int, place: int) -> str:
    where = f"messages[{index}].content[{place}]"
    if part.type != "text":
        raise Unsupported(
            f"This door passes text only for now, not {part.type!r:.40}.", param=f"{where}.type"
        )
    if part.text is None:
        raise InvalidField("A part of type text needs a text.", param=f"{where}.text")
    return part.text


def _sampling(request: ChatRequest) -> Sampling:
    stop = request.stop or ()
    stops = (stop,) if isinstance(stop, str) else tuple([text for text in stop if text])
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        max_tokens=request.max_completion_tokens or request.max_tokens,
        stop=stops,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
    )


def _conversation(
    request: ChatRequest, extras: Extras, messages: tuple[Message, ...], caller: Caller
) -> str:
    """What tells this conversation from another: what the client says, or how it began.

    NUL cannot be in any of the parts, so no two beginnings run together to the same text.
    """
    said = extras.conversation or request.user
    if said:
        return said
    system = [message.content for message in messages if message.role == "system"]
    first = [message.content for message in messages if message.role == "user"][:1]
    text = "\0".join([caller.id, *system, "\0", *first])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
