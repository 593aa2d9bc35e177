"""How each kind of OpenAI-compatible server describes its models, turned into offers.

Pure: what a server answered comes in, offers come out. Claims are what a model is told by from
another of its name: they hold from one start of the server to the next, so neither what is loaded
nor how much context it was started with is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from arbiter.engines.base import Offer
from arbiter.engines.openai_facts import (
    ARBITER,
    DOCKER,
    GENERIC,
    LEMONADE,
    LLAMA_SERVER,
    LM_STUDIO,
    LOCALAI,
    SGLANG,
    VLLM,
    Described,
    Entry,
    Told,
    count_of,
    digest_of,
    digested,
    facts_of,
    fields_of,
    is_loaded,
    named,
    props_of,
    text_of,
    words_in,
)
from arbiter.engines.openai_request import EMBEDDINGS

_TALKS: Final = frozenset({"chat", "completion"})
_EMBEDS: Final = frozenset({"embedding"})
_PASSED_ON: Final = "openai"
"""What an Arbiter's card says of a model that it only reaches through another server."""
_DEPLOYED: Final[Mapping[str, frozenset[str] | None]] = {
    "chat": _TALKS,
    "embeddings": _EMBEDS,
    "embedding": _EMBEDS,
    **dict.fromkeys(
        ("transcription", "reranking", "image", "tts", "audio-generation")
        + ("classification", "classifier", "3d"),
        None,
    ),
}
"""Lemonade's labels that say what a model is for; None: for nothing that is asked of it here."""


def _llama_server(entries: Sequence[Entry], told: Told) -> Described:
    found, trouble = [], []
    only = fields_of(told.get("/props"))
    for name, entry in named(entries):
        gives = words_in(fields_of(entry.get("architecture")).get("output_modalities"))
        if gives and "text" not in gives:
            trouble.append(f"{name!r} answers with {', '.join(sorted(gives))}, not with text.")
        elif "status" in entry:
            found.append(_routed(name, entry, fields_of(told.get(props_of(name)))))
        else:
            found.append(_single(name, entry, only, embeds=_embeds(told)))
    if not only and entries and "status" not in entries[0]:
        trouble.append("It did not tell its properties: what its model can do is not known.")
    builds = {text_of(fields_of(answer).get("build_info")) for answer in told.values()} - {None}
    return Described(
        offers=tuple(found),
        version=next(iter(builds)) if len(builds) == 1 else None,
        trouble=tuple(trouble),
    )


def _embeds(told: Told) -> bool:
    """Whether it was started to make vectors, by its refusal of a request for those of nothing."""
    refusal = fields_of(told.get(EMBEDDINGS))
    words = text_of(refusal.get("words")) or ""
    return refusal.get("status") == 400 and "pooling type" not in words.lower()


def _single(name: str, entry: Entry, props: Entry, *, embeds: bool) -> Offer:
    meta = fields_of(entry.get("meta"))
    template = props.get("chat_template")
    template = template if isinstance(template, str) and template else None
    parameters, size = count_of(meta.get("n_params")), count_of(meta.get("size"))
    quantization = text_of(meta.get("ftype")) or text_of(props.get("model_ftype"))
    return Offer(
        model=name,
        claims=facts_of(
            kind=LLAMA_SERVER,
            parameters=parameters,
            size=size,
            vocabulary=count_of(meta.get("n_vocab")),
            width=count_of(meta.get("n_embd")),
            trained_context=count_of(meta.get("n_ctx_train")),
            quantization=quantization,
            template=None if template is None else digested(template),
        ),
        parameters=parameters,
        quantization=quantization,
        context_length=_context(props) or count_of(meta.get("n_ctx")),
        capabilities=_EMBEDS if embeds else _llama_capabilities(props),
        size_bytes=size,
        template=template,
        loaded=None if "is_sleeping" not in props else props.get("is_sleeping") is False,
        details=facts_of(
            slots=count_of(props.get("total_slots")),
            trained_context=count_of(meta.get("n_ctx_train")),
        ),
    )


def _routed(name: str, entry: Entry, props: Entry) -> Offer:
    """One of several models; what is known of it only while it is loaded is no claim."""
    meta, loaded = fields_of(entry.get("meta")), is_loaded(entry)
    arguments = words_in(fields_of(entry.get("status")).get("args"))
    can = _EMBEDS if arguments & {"--embedding", "--embeddings"} else _llama_capabilities(props)
    return Offer(
        model=name,
        claims=facts_of(kind=LLAMA_SERVER, path=text_of(entry.get("path"))),
        parameters=count_of(meta.get("n_params")),
        quantization=text_of(meta.get("ftype")),
        context_length=_context(props),
        capabilities=can,
        size_bytes=count_of(meta.get("size")),
        loaded=loaded,
        details=facts_of(
            slots=count_of(props.get("total_slots")),
            trained_context=count_of(meta.get("n_ctx_train")),
        ),
    )


def _context(props: Entry) -> int | None:
    return count_of(fields_of(props.get("default_generation_settings")).get("n_ctx"))


def _llama_capabilities(props: Entry) -> frozenset[str] | None:
    """What a model that writes can do, as far as its server tells."""
    template = fields_of(props.get("chat_template_caps"))
    if not template:
        return None
    can = {"json"} | ({"tools"} if template.get("supports_tools") is True else set())
    if fields_of(props.get("modalities")).get("vision") is True:
        can.add("vision")
    return _TALKS | can


def _lm_studio(entries: Sequence[Entry], told: Told) -> Described:
    listed = fields_of(told.get("/api/v0/models")).get("data")
    known = {
        str(model.get("id")): model
        for model in (listed if isinstance(listed, list) else [])
        if isinstance(model, dict)
    }
    return Described(
        offers=tuple(_in_lm_studio(name, known.get(name, {})) for name, _ in named(entries))
    )


def _in_lm_studio(name: str, model: Entry) -> Offer:
    type_, arch = text_of(model.get("type")), text_of(model.get("arch"))
    quantization, state = text_of(model.get("quantization")), text_of(model.get("state"))
    can: frozenset[str] | None = None
    if type_ in {"llm", "vlm"}:
        tools = {"tools"} if "tool_use" in words_in(model.get("capabilities")) else set[str]()
        can = _TALKS | tools | ({"vision"} if type_ == "vlm" else set())
    elif type_ == "embeddings":
        can = _EMBEDS
    packing, publisher = text_of(model.get("compatibility_type")), text_of(model.get("publisher"))
    return Offer(
        model=name,
        claims=facts_of(
            kind=LM_STUDIO,
            architecture=arch,
            quantization=quantization,
            packing=packing,
            publisher=publisher,
            context=count_of(model.get("max_context_length")),
        ),
        architecture=arch,
        quantization=quantization,
        context_length=count_of(model.get("loaded_context_length"))
        or count_of(model.get("max_context_length")),
        capabilities=can,
        loaded=None if state is None else state == "loaded",
        details=facts_of(publisher=publisher, packing=packing),
    )


def _vllm(entries: Sequence[Entry], told: Told) -> Described:
    return Described(
        offers=tuple(_rooted(VLLM, name, entry, None) for name, entry in named(entries)),
        version=text_of(fields_of(told.get("/version")).get("version")),
    )


def _sglang(entries: Sequence[Entry], told: Told) -> Described:
    info = fields_of(told.get("/model_info")) or fields_of(told.get("/get_model_info"))
    generates = info.get("is_generation")
    can = None if not isinstance(generates, bool) else _TALKS if generates else _EMBEDS
    trouble = () if info else ("It did not tell about its model.",)
    offers = tuple(_rooted(SGLANG, name, entry, can) for name, entry in named(entries))
    return Described(offers=offers, trouble=trouble)


def _rooted(kind: str, name: str, entry: Entry, can: frozenset[str] | None) -> Offer:
    return Offer(
        model=name,
        claims=facts_of(
            kind=kind, root=text_of(entry.get("root")), parent=text_of(entry.get("parent"))
        ),
        context_length=count_of(entry.get("max_model_len")),
        capabilities=can,
        loaded=True,
    )


def _docker(entries: Sequence[Entry], told: Told) -> Described:
    """Its own list gives each model's digest; the OpenAI one only names."""
    listed = told.get("/models")
    digests = {
        tag: digest
        for model in (listed if isinstance(listed, list) else [])
        if isinstance(model, dict) and (digest := digest_of(model.get("id")))
        for tag in words_in(model.get("tags")) | {digest}
    }
    offers = []
    for name, entry in named(entries):
        facts = fields_of(entry.get("dmr"))
        quantization, arch = text_of(facts.get("quantization")), text_of(facts.get("architecture"))
        rounded = facts_of(
            parameters=text_of(facts.get("parameters")), size=text_of(facts.get("size"))
        )
        offers.append(
            Offer(
                model=name,
                digest=digests.get(name),
                claims=facts_of(kind=DOCKER, architecture=arch, quantization=quantization)
                | rounded,
                architecture=arch,
                quantization=quantization,
                context_length=count_of(facts.get("context_window")),
                details=rounded,
            )
        )
    trouble = () if digests else ("It did not tell the digests of its models.",)
    return Described(offers=tuple(offers), trouble=trouble if offers else ())


def _localai(entries: Sequence[Entry], told: Told) -> Described:
    running = fields_of(told.get("/system")).get("loaded_models")
    names = {str(fields_of(m).get("id")) for m in (running if isinstance(running, list) else [])}
    return Described(
        offers=tuple(
            Offer(model=name, claims=facts_of(kind=LOCALAI), loaded=name in names)
            for name, _ in named(entries)
        ),
        version=text_of(fields_of(told.get("/version")).get("version")),
    )


def _lemonade(entries: Sequence[Entry], told: Told) -> Described:
    health = fields_of(told.get("/v1/health"))
    running = health.get("all_models_loaded")
    names = {fields_of(m).get("model_name") for m in running} if isinstance(running, list) else None
    found, trouble = [], []
    for name, entry in named(entries):
        labels = words_in(entry.get("labels"))
        jobs = [_DEPLOYED[label] for label in sorted(labels & _DEPLOYED.keys())]
        if entry.get("recipe") == "cloud":
            trouble.append(f"{name!r} runs in a cloud, not here.")
        elif jobs and jobs[0] is None:
            trouble.append(f"{name!r} is for {', '.join(sorted(labels & _DEPLOYED.keys()))}.")
        elif entry.get("downloaded") is not False:
            found.append(_in_lemonade(name, entry, jobs[0] if jobs else None, names))
    version = text_of(health.get("version"))
    return Described(offers=tuple(found), version=version, trouble=tuple(trouble))


def _in_lemonade(
    name: str, entry: Entry, job: frozenset[str] | None, running: set[object] | None
) -> Offer:
    labels, can = words_in(entry.get("labels")), job
    if can == _TALKS:
        can |= {"tools"} if "tool-calling" in labels else set[str]()
        can |= {"vision"} if "vision" in labels else set[str]()
    return Offer(
        model=name,
        claims=facts_of(
            kind=LEMONADE,
            checkpoint=text_of(entry.get("checkpoint")),
            recipe=text_of(entry.get("recipe")),
        ),
        context_length=count_of(entry.get("context_length"))
        or count_of(entry.get("max_context_window")),
        capabilities=can,
        loaded=None if running is None else name in running,
    )


def _arbiter(entries: Sequence[Entry], told: Told) -> Described:  # noqa: ARG001  # every kind's form
    """Another house: its own models, each under the digest that it has there.

    What it only reaches through another server is left out: two houses that find each other
    would pass the same model back and forth, a new version with every round.
    """
    own = [(name, e) for name, e in named(entries) if digest_of(e.get("version"))]
    passed_on = sum(entry.get("owned_by") == _PASSED_ON for _, entry in own)
    trouble = (
        (f"{passed_on} of its models are other servers'; connect those servers themselves.",)
        if passed_on
        else ()
    )
    return Described(
        offers=tuple(
            Offer(
                model=name,
                digest=digest_of(entry.get("version")),
                context_length=count_of(entry.get("context_length")),
                capabilities=words_in(entry.get("capabilities")) or None,
            )
            for name, entry in own
            if entry.get("owned_by") != _PASSED_ON
        ),
        trouble=trouble,
    )


def _generic(entries: Sequence[Entry], told: Told) -> Described:  # noqa: ARG001  # every kind's form
    return Described(
        offers=tuple(
            Offer(
                model=name,
                claims=facts_of(
                    owner=text_of(entry.get("owned_by")), root=text_of(entry.get("root"))
                ),
                context_length=count_of(entry.get("context_length"))
                or count_of(entry.get("max_model_len")),
            )
            for name, entry in named(entries)
        )
    )


OFFERS_OF: Final[Mapping[str, Callable[[Sequence[Entry], Told], Described]]] = {
    LLAMA_SERVER: _llama_server,
    LM_STUDIO: _lm_studio,
    VLLM: _vllm,
    SGLANG: _sglang,
    DOCKER: _docker,
    LOCALAI: _localai,
    LEMONADE: _lemonade,
    ARBITER: _arbiter,
    GENERIC: _generic,
}
