"""What Ollama's clients ask for, as it arrives, and what the house makes of it.

Two kinds of options come with a request. Those of sampling are passed on. Those for which an
Ollama would load the model again (``num_ctx`` and the like) are taken and not heeded: how a model
is loaded is the house's affair, and a prompt that does not fit is refused and never cut short.
Every other option is ignored, as Ollama ignores it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

import msgspec

from arbiter.errors import InvalidField, Unsupported
from arbiter.gateway.media import read_picture
from arbiter.gateway.openai import (
    AnyRequest,
    Factor,
    LastTokens,
    Penalty,
    Probability,
    Stops,
    Temperature,
    beginning_of,
    conversation_of,
    read_request,
    read_whom,
)
from arbiter.gateway.security import Caller
from arbiter.gateway.tools import MAX_TOOLS, WireFunction, WireTool, read_tools
from arbiter.inference import (
    Ask,
    Chat,
    Completion,
    Effort,
    Embedding,
    Media,
    Message,
    Sampling,
    Shape,
    ToolCall,
)
from arbiter.pool.pinned_options import load_options

MAX_MESSAGES: Final = 4096
MAX_INPUTS: Final = 2048
MOST_OTHERS: Final = 20

_DURATION: Final = re.compile(r"-?(?:\d{1,9}(?:\.\d{1,9})?(?:ns|us|µs|ms|s|m|h))+|-?\d{1,9}")
_NOTHING: Final = re.compile(r"-?[0.]*(?:(?:ns|us|µs|ms|s|m|h)[0.]*)*")
_EFFORTS: Final[Mapping[object, Effort]] = {
    True: "some",
    False: "none",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
}

Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
KeepAlive = int | float | str
Others = Annotated[int, msgspec.Meta(ge=0, le=MOST_OTHERS)]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options of sampling."""

    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_k: Whole | None = None
    min_p: Probability | None = None
    typical_p: Probability | None = None
    seed: Whole | None = None
    num_predict: Whole | None = None
    stop: str | Stops | None = None
    repeat_penalty: Factor | None = None
    repeat_last_n: LastTokens | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None


class OllamaRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What every request says. ``name`` is the old word for the model."""

    model: str | None = None
    name: str | None = None

    @property
    def asked(self) -> str:
        """The model as the client wrote it. Raises `InvalidField` when there is none."""
        found = self.model or self.name
        if not found:
            raise InvalidField("model is required.", param="model")
        return found


class WritingRequest(OllamaRequest, frozen=True, kw_only=True):
    """What a request for text says."""

    stream: bool | None = None
    format: str | dict[str, object] | None = None
    options: dict[str, object] | None = None
    keep_alive: KeepAlive | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: Others | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether the answer comes in pieces: unless it is said otherwise, it does."""
        return self.stream is not False


class GenerateRequest(WritingRequest, frozen=True, kw_only=True):
    """A request for what follows a prompt."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    raw: bool | None = None
    images: list[str] | None = None


class Called(msgspec.Struct, frozen=True):
    """A function that the model called earlier."""

    name: str
    arguments: dict[str, object] | None = None


class Call(msgspec.Struct, frozen=True):
    """A call of an earlier turn."""

    function: Called
    id: str | None = None


class Turn(msgspec.Struct, frozen=True):
    """A message as it arrives."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class Offered(msgspec.Struct, frozen=True):
    """A tool; only functions are passed on."""

    type: str = "function"
    function: WireFunction | None = None


class ChatRequest(WritingRequest, frozen=True, kw_only=True):
    """A request for the next turn of a conversation."""

    messages: Annotated[list[Turn], msgspec.Meta(max_length=MAX_MESSAGES)] | None = None
    tools: Annotated[list[Offered], msgspec.Meta(max_length=MAX_TOOLS)] | None = None


class EmbedRequest(OllamaRequest, frozen=True, kw_only=True):
    """A request for the vectors of texts."""

    input: str | Annotated[list[str], msgspec.Meta(max_length=MAX_INPUTS)] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=0, le=65536)] | None = None
    options: object = None
    """Only counted: none of them means anything for a vector."""
    keep_alive: KeepAlive | None = None


class OldEmbedRequest(OllamaRequest, frozen=True, kw_only=True):
    """A request for the vector of one text, in its old form."""

    prompt: str | None = None
    options: object = None
    """Only counted: none of them means anything for a vector."""
    keep_alive: KeepAlive | None = None


class NamedRequest(OllamaRequest, frozen=True, kw_only=True):
    """A request about a model."""

    stream: bool | None = None


_REFUSED: Final[Mapping[str, tuple[object, ...]]] = {
    "template": (None, ""),
    "context": (None, []),
    "adapters": (None, {}, []),
}


def read_generate(body: bytes) -> GenerateRequest:
    """A request of ``/api/generate``. Raises `BadRequest`."""
    return read_request(body, GenerateRequest, _REFUSED)


def read_chat(body: bytes) -> ChatRequest:
    """A request of ``/api/chat``. Raises `BadRequest`."""
    return read_request(body, ChatRequest, {})


def ask_to_go_on(asked: GenerateRequest, headers: Mapping[str, str], caller: Caller) -> Ask:
    """What ``/api/generate`` asks for: an answer to a prompt, or how a text goes on.

    Ollama puts a prompt into the model's template unless it is ``raw``: so it is a conversation
    of one turn. Raises `InvalidField`, `Unsupported`.
    """
    prompt = asked.prompt or ""
    if asked.raw or asked.suffix:
        if asked.images or asked.format or asked.system:
            raise Unsupported(
                "images, format and system go with a prompt in the model's template only, so "
                "with neither raw nor suffix.",
                param="raw" if asked.raw else "suffix",
            )
        work = Completion(prompt=prompt, suffix=asked.suffix or None)
        return _ask(asked, work, headers, caller, beginning=(prompt,))
    turns = [Message(role="system", content=asked.system)] if asked.system else []
    turns.append(_with_pictures("user", prompt, asked.images, "images"))
    chat = Chat(messages=tuple(turns), shape=_shape(asked.format), effort=read_effort(asked.think))
    return _ask(asked, chat, headers, caller, beginning=beginning_of(turns))


def ask_to_talk(asked: ChatRequest, headers: Mapping[str, str], caller: Caller) -> Ask:
    """What ``/api/chat`` asks for. Raises `InvalidField`, `Unsupported`."""
    turns = _turns(asked.messages or ())
    offered = [WireTool(type=one.type, function=one.function) for one in asked.tools or ()]
    chat = Chat(
        messages=turns,
        tools=read_tools(offered, None, None),
        shape=_shape(asked.format),
        effort=read_effort(asked.think),
    )
    return _ask(asked, chat, headers, caller, beginning=beginning_of(turns))


def ask_for_vectors(
    asked: EmbedRequest | OldEmbedRequest, headers: Mapping[str, str], caller: Caller
) -> Ask:
    """What the two addresses for vectors ask for. Raises `InvalidField`."""
    given = (asked.prompt if isinstance(asked, OldEmbedRequest) else asked.input) or ()
    inputs = (given,) if isinstance(given, str) else tuple(given)
    dimensions = asked.dimensions if isinstance(asked, EmbedRequest) else None
    for index, text in enumerate(inputs):
        if not text:
            raise InvalidField("An empty text has no vector.", param=f"input[{index}]")
    whom = AnyRequest(model=model_of(asked))
    target, task, extras = read_whom(whom, headers)
    return Ask(
        target=target,
        work=Embedding(inputs=inputs, dimensions=dimensions or None),
        task=task,
        limits=extras.limits,
        helper=extras.helper,
        conversation=conversation_of(whom, extras, caller, inputs),
        expected=extras.expected,
        load_options=load_options(asked.options.items() if isinstance(asked.options, dict) else ()),
        caller=caller.id,
    )


def model_of(asked: OllamaRequest) -> str:
    """Who is to answer. Clients put Ollama's own tag behind what has none."""
    name = asked.asked
    return "auto" if name == "auto:latest" else name


def is_let_go(keep_alive: KeepAlive | None) -> bool:
    """Whether a model is to leave the memory once it is not needed. Raises `InvalidField`.

    >>> is_let_go(0), is_let_go("0s"), is_let_go("5m"), is_let_go(-1), is_let_go(None)
    (True, True, False, False, False)
    """
    if keep_alive is None or isinstance(keep_alive, int | float):
        return keep_alive is not None and keep_alive == 0
    if not _DURATION.fullmatch(keep_alive):
        raise InvalidField(
            f"keep_alive is no duration: {keep_alive!r:.40}.",
            hint="It is a number of seconds, or like 10m.",
            param="keep_alive",
        )
    return _NOTHING.fullmatch(keep_alive) is not None


def read_effort(think: bool | str | None) -> Effort | None:
    """How much the model is to think. Raises `InvalidField`."""
    if think is None or think == "":
        return None
    if think not in _EFFORTS:
        raise InvalidField(
            f"think is true, false, low, medium, high or max, not {think!r:.40}.", param="think"
        )
    return _EFFORTS[think]


def _ask(
    asked: WritingRequest,
    work: Chat | Completion,
    headers: Mapping[str, str],
    caller: Caller,
    *,
    beginning: tuple[str, ...],
) -> Ask:
    whom = AnyRequest(model=model_of(asked))
    target, task, extras = read_whom(whom, headers)
    return Ask(
        target=target,
        work=work,
        sampling=_sampling(asked),
        stream=asked.is_streamed,
        task=task,
        limits=extras.limits,
        helper=extras.helper,
        conversation=conversation_of(whom, extras, caller, beginning),
        expected=extras.expected,
        load_options=load_options(list((asked.options or {}).items())),
        caller=caller.id,
    )


def _sampling(asked: WritingRequest) -> Sampling:
    given = {name: _whole(value) for name, value in (asked.options or {}).items()}
    try:
        options = msgspec.convert(given, Options)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`") or "options"
        raise InvalidField(f"{name}: {what:.200}.", param=f"options.{name}") from None
    stop, most = options.stop or (), options.num_predict
    return Sampling(
        temperature=options.temperature,
        top_p=options.top_p,
        # below nothing are Ollama's words for all tokens, no bound and any seed
        top_k=None if options.top_k is None else max(0, min(options.top_k, 2**31 - 1)),
        min_p=options.min_p,
        typical_p=options.typical_p,
        seed=None if options.seed is None or options.seed < 0 else options.seed,
        max_tokens=None if most is None or most <= 0 else min(most, 2**31 - 1),
        stop=(stop,) if isinstance(stop, str) else tuple([text for text in stop if text]),
        repeat_penalty=options.repeat_penalty,
        repeat_last_n=options.repeat_last_n,
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        odds=(asked.top_logprobs or 0) if asked.logprobs else None,
    )


def _whole(value: object) -> object:
    """A number as Ollama reads it: 40.0 is as good as 40."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shape(wanted: str | dict[str, object] | None) -> Shape | None:
    if wanted is None or wanted == "":
        return None
    if isinstance(wanted, dict):
        return Shape(schema=msgspec.json.encode(wanted).decode())
    if wanted != "json":
        raise InvalidField(f"format is json or a schema, not {wanted!r:.40}.", param="format")
    return Shape()


def _turns(turns: Sequence[Turn]) -> tuple[Message, ...]:
    found: list[Message] = []
    waiting: list[ToolCall] = []
    for index, turn in enumerate(turns):
        where = f"messages[{index}]"
        if turn.role == "tool":
            found.append(_result(turn, waiting, len(found)))
            continue
        message = _with_pictures(turn.role, turn.content or "", turn.images, f"{where}.images")
        if turn.tool_calls and turn.role != "assistant":
            raise InvalidField("Only the assistant calls tools.", param=f"{where}.tool_calls")
        calls = tuple(
            [
                _call(call, f"call_{index}_{place}")
                for place, call in enumerate(turn.tool_calls or ())
            ]
        )
        waiting += calls
        found.append(msgspec.structs.replace(message, calls=calls, thought=turn.thinking or None))
    return tuple(found)


def _call(call: Call, made_up: str) -> ToolCall:
    return ToolCall(
        id=call.id or made_up,
        name=call.function.name,
        arguments=msgspec.json.encode(call.function.arguments or {}).decode(),
    )


def _result(turn: Turn, waiting: list[ToolCall], place: int) -> Message:
    """What a tool gave back. Few clients say for which call; then it is for the first that fits."""
    fits = [
        call
        for call in waiting
        if (turn.tool_call_id is None or call.id == turn.tool_call_id)
        and (turn.tool_name is None or call.name == turn.tool_name)
    ]
    name, answers = turn.tool_name, turn.tool_call_id or f"call_{place}"
    if fits:
        waiting.remove(fits[0])
        name, answers = fits[0].name, fits[0].id
    return Message(role="tool", content=turn.content or "", answers=answers, name=name)


def _with_pictures(
    role: Literal["system", "user", "assistant"],
    content: str,
    images: Sequence[str] | None,
    where: str,
) -> Message:
    if not images:
        return Message(role=role, content=content)
    parts: list[str | Media] = [content] if content else []
    parts += [read_picture(data, f"{where}[{place}]") for place, data in enumerate(images)]
    return Message(role=role, content=content, parts=tuple(parts))
