"""Every error that Arbiter raises on purpose, in one tree.

    ArbiterError
    ├── BadRequest                 the caller sent something that cannot be served
    │   ├── InvalidJson
    │   ├── InvalidField
    │   │   ├── Unsupported
    │   │   └── CannotDo           the model that was named lacks a capability
    │   ├── TooLarge
    │   ├── HeadersTooLarge
    │   ├── BodyTooSlow
    │   ├── MethodNotAllowed
    │   ├── UnsupportedMedia
    │   ├── NotProvided            the house does not do this at all
    │   └── ConfigError
    ├── Forbidden                  the caller may not
    │   ├── Unauthorized
    │   ├── HostNotAllowed
    │   └── OriginNotAllowed
    ├── NotFound
    │   ├── UnknownModel
    │   ├── UnknownTask
    │   ├── UnknownDecision
    │   ├── UnknownRollout
    │   ├── UnknownAlias
    │   ├── UnknownKey
    │   └── UnknownRoute
    ├── Conflict                   the state does not allow it now
    │   ├── NameTaken
    │   ├── RolloutActive
    │   ├── StillInUse
    │   ├── Stale                  what was to be changed is not what the caller read
    │   ├── HouseLocked
    │   └── TooLittleEvidence      the record says too little about what was asked
    ├── ModelFileError             a model file that cannot be trusted or read
    ├── KnowledgeFileError         a file of knowledge that cannot be trusted or read
    ├── NothingCapable             selection dropped every version, each with its reason
    ├── NothingThere               what could serve is at servers that are not there now
    ├── Unexpected                 a fault of ours; the log says more
    ├── Busy                       a bound was reached; try again
    │   ├── OverLimit              a key has asked for as much as it may
    │   ├── NoRoom                 memory that has to stay with others: who waits gets none
    │   └── ShuttingDown
    ├── EngineError                the engine failed, not Arbiter
    │   ├── EngineUnavailable      it cannot run here, and says why
    │   ├── LoadFailed
    │   │   ├── OutOfMemory        the engine asked for more memory than it got
    │   │   ├── ServerGone         the server that offers the model is not there
    │   │   ├── NotOffered         the server is there, and has the model no more
    │   │   └── KeyRefused         the server wants a key of the house, or another one
    │   ├── NotThisKind            something else answers at an address
    │   ├── InstanceLost           it died before the first byte: safe to try again
    │   ├── MalformedCall          a model wrote a tool call that is none
    │   ├── StreamCut              it died after the first byte: never retried
    │   │   └── ServerCut          with the whole server: no fault of the version
    │   ├── EngineRefused          it answered with an error of its own
    │   │   ├── PromptTooLong
    │   │   └── CannotServe        the model cannot do this kind of work there
    │   └── EngineTimeout
    └── StorageError               the disk failed; the request path goes on without it
        ├── StorageFull
        └── SchemaTooNew

The docstring of a class is its default message. ``code`` is stable: clients may match on it.
This module knows nothing of HTTP frameworks: ``status`` is only a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class ArbiterError(Exception):
    """Arbiter could not do what was asked."""

    code: ClassVar[str] = "arbiter_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    ours: ClassVar[bool] = True
    """True when Arbiter or the caller is at fault, False when an engine is."""

    public: ClassVar[bool] = False
    """True when a 5xx of this class may be told in full to anybody: it quotes no engine or disk."""

    decision: str | None = None
    """The decision that this error ended, when there was one: `arbiter why` tells more."""

    request: str | None = None
    """By which the request that it ended is found in the log, where nothing was decided."""

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.hint = hint
        self.param = param
        self.retry_after_s = retry_after_s
        super().__init__(self.sentence)

    @property
    def sentence(self) -> str:
        """The message with what to do about it."""
        return f"{self.message} {self.hint}" if self.hint else self.message


class BadRequest(ArbiterError):
    """The request cannot be served as it stands."""

    code = "bad_request"
    status = 400


class InvalidJson(BadRequest):
    """The body is not valid JSON."""

    code = "invalid_json"


class InvalidField(BadRequest):
    """A field has a value that is not allowed."""

    code = "invalid_field"


class Unsupported(InvalidField):
    """This door does not pass this on yet."""

    code = "unsupported"


class CannotDo(InvalidField):
    """The model that was named cannot do this."""

    code = "cannot_do"


class TooLarge(BadRequest):
    """The request is larger than the limit."""

    code = "too_large"
    status = 413


class HeadersTooLarge(BadRequest):
    """The headers are too many or too large."""

    code = "headers_too_large"
    status = 431


class BodyTooSlow(BadRequest):
    """The body did not arrive in time."""

    code = "body_too_slow"
    status = 408


class MethodNotAllowed(BadRequest):
    """This address does not take this method."""

    code = "method_not_allowed"
    status = 405

    def __init__(self, *, allowed: Iterable[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(hint=f"It takes {self.allowed}.")


class UnsupportedMedia(BadRequest):
    """Only application/json is accepted here."""

    code = "unsupported_media_type"
    status = 415


class NotProvided(BadRequest):
    """This house does not make, copy or publish models."""

    code = "not_provided"
    status = 501
    public = True


class ConfigError(BadRequest):
    """The configuration is not valid."""

    code = "config_error"


class Forbidden(ArbiterError):
    """This is not allowed."""

    code = "forbidden"
    status = 403


class Unauthorized(Forbidden):
    """A valid key is needed."""

    code = "unauthorized"
    status = 401


class HostNotAllowed(Forbidden):
    """The Host header names no address that this house answers to."""

    code = "host_not_allowed"


class OriginNotAllowed(Forbidden):
    """Requests from this web origin are not allowed."""

    code = "origin_not_allowed"


class NotFound(ArbiterError):
    """There is no such thing here."""

    code = "not_found"
    status = 404


class UnknownModel(NotFound):
    """No model or alias has this name."""

    code = "model_not_found"


class UnknownTask(NotFound):
    """No task has this name."""

    code = "task_not_found"


class UnknownDecision(NotFound):
    """No decision has this id."""

    code = "decision_not_found"


class UnknownRollout(NotFound):
    """No rollout has this id."""

    code = "rollout_not_found"


class UnknownAlias(NotFound):
    """No alias has this name."""

    code = "alias_not_found"


class UnknownKey(NotFound):
    """No key has this id."""

    code = "key_not_found"


class UnknownRoute(NotFound):
    """There is nothing at this address."""

    code = "route_not_found"


class Conflict(ArbiterError):
    """The present state does not allow this."""

    code = "conflict"
    status = 409


class NameTaken(Conflict):
    """This name already stands for something else."""

    code = "name_taken"


class RolloutActive(Conflict):
    """A rollout of this alias is already going on."""

    code = "rollout_active"


class StillInUse(Conflict):
    """Something still depends on this."""

    code = "still_in_use"


class Stale(Conflict):
    """It was changed since you read it, so nothing was done."""

    code = "changed_meanwhile"
    status = 412


class HouseLocked(Conflict):
    """Another Arbiter uses this data directory."""

    code = "house_locked"


class TooLittleEvidence(Conflict):
    """The record says too little about this."""

    code = "too_little_evidence"


class ModelFileError(ArbiterError):
    """The model file cannot be read."""

    code = "model_file_error"
    status = 422


class KnowledgeFileError(ArbiterError):
    """The file holds no knowledge that can be taken in."""

    code = "knowledge_file_error"
    status = 422


class NothingCapable(ArbiterError):
    """No registered version can serve this request."""

    code = "nothing_capable"
    status = 422


class NothingThere(ArbiterError):
    """Every model that could serve this is at a server that is not there now; try again shortly."""

    code = "nothing_there"
    status = 503
    retryable = True
    ours = False
    public = True


class Unexpected(ArbiterError):
    """Something went wrong in the house; its log says what."""

    code = "internal_error"


class Busy(ArbiterError):
    """Too much is waiting; try again shortly."""

    code = "busy"
    status = 429
    retryable = True


class OverLimit(Busy):
    """This key has asked for as much as it may; try again later."""

    code = "over_limit"


class NoRoom(Busy):
    """There is no memory for this model beside what has to stay."""

    code = "no_room"
    status = 409


class ShuttingDown(Busy):
    """The house is closing and takes no new requests."""

    code = "shutting_down"
    status = 503
    public = True


class EngineError(ArbiterError):
    """The engine failed."""

    code = "engine_error"
    status = 502
    ours = False


class EngineUnavailable(EngineError):
    """This engine cannot run here."""

    code = "engine_unavailable"
    status = 503
    public = True


class LoadFailed(EngineError):
    """The model could not be loaded."""

    code = "load_failed"
    status = 503


class OutOfMemory(LoadFailed):
    """There was not enough memory to load the model."""

    code = "out_of_memory"


class ServerGone(LoadFailed):
    """This model's server is not there now. Try again, or another one of GET /v1/models."""

    code = "server_gone"
    retryable = True


class NotOffered(LoadFailed):
    """This model's server does not offer it any more. Try another one of GET /v1/models."""

    code = "not_offered"


class NotThisKind(EngineError):
    """What answers at this address is not the kind of server that was looked for."""

    code = "not_this_kind"


class KeyRefused(LoadFailed):
    """This model's server wants a key; whoever runs the house sets it in [discovery.keys]."""

    code = "key_refused"
    status = 502


class InstanceLost(EngineError):
    """The engine died before its first byte."""

    code = "instance_lost"
    retryable = True


class MalformedCall(EngineError):
    """The model wrote a call of a tool whose arguments are no JSON object; ask it again."""

    code = "malformed_call"
    retryable = True


class StreamCut(EngineError):
    """The engine died in the middle of its answer."""

    code = "stream_cut"


class ServerCut(StreamCut):
    """The model's server was gone in the middle of its answer."""

    code = "server_cut"


class EngineRefused(EngineError):
    """The engine refused the request."""

    code = "engine_refused"
    status = 400
    ours = True


class PromptTooLong(EngineRefused):
    """The prompt has more tokens than the model has room for."""

    code = "context_length_exceeded"
    """OpenAI's own: clients shorten their conversation when they read it."""

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        param: str | None = None,
        tokens: int | None = None,
        room: int | None = None,
    ) -> None:
        """tokens: of the prompt; room: for how many there is; None where nobody said."""
        self.tokens = tokens
        self.room = room
        super().__init__(message, hint=hint, param=param)


class CannotServe(EngineRefused):
    """The model cannot do this kind of work where it runs."""

    code = "cannot_serve"
    ours = False


class EngineTimeout(EngineError):
    """The engine did not answer in time."""

    code = "engine_timeout"
    status = 504


class StorageError(ArbiterError):
    """The data directory could not be written."""

    code = "storage_error"
    status = 503


class StorageFull(StorageError):
    """The disk is full."""

    code = "storage_full"
    status = 507


class SchemaTooNew(StorageError):
    """The data directory was written by a newer Arbiter."""

    code = "schema_too_new"
