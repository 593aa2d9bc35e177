"""What an Ollama tells of its models."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from arbiter.engines.ollama_listing import (
    Process,
    loaded,
    offer,
    parse_processes,
    parse_shown,
    parse_tags,
    parse_version,
)

MODEL = "gemma3:1b"

DIGEST = "a" * 64


SHOWN = {
    "license": "\n  Gemma Terms of Use  \nLast modified: ...",
    "template": "{{ .Prompt }}",
    "details": {
        "format": "gguf",
        "family": "gemma3",
        "parameter_size": "999.89M",
        "quantization_level": "Q4_K_M",
        "parent_model": "",
    },
    "model_info": {
        "general.architecture": "gemma3",
        "general.parameter_count": 999885952,
        "gemma3.context_length": 32768,
        "gemma3.embedding_length": 1152,
        "tokenizer.ggml.tokens": None,
    },
    "capabilities": ["completion", "tools", "vision", "flying"],
}
TAG = {"name": MODEL, "model": MODEL, "digest": DIGEST, "size": 815_319_791}


def shown(**changes: object) -> bytes:
    return json.dumps({**SHOWN, **changes}).encode()


def tags(*told: object) -> bytes:
    return json.dumps({"models": list(told)}).encode()


def test_a_model_is_offered_as_its_server_describes_it() -> None:
    (tag,) = parse_tags(tags(TAG))
    found = offer(tag, parse_shown(shown()), ())
    assert found.digest == f"sha256:{DIGEST}"
    assert found.capabilities == frozenset({"chat", "completion", "tools", "vision"})
    assert (found.architecture, found.parameters) == ("gemma3", 999_885_952)
    assert (found.context_length, found.quantization) == (32_768, "Q4_K_M")
    assert (found.template, found.licence) == ("{{ .Prompt }}", "Gemma Terms of Use")
    assert (found.size_bytes, found.loaded) == (815_319_791, False)
    assert found.details == {
        "family": "gemma3",
        "file_format": "gguf",
        "parameter_size": "999.89M",
        "embedding_length": 1152,
    }


@pytest.mark.parametrize("told", [None, []])
def test_a_server_that_tells_no_capabilities_leaves_them_unknown(told: object) -> None:
    assert parse_shown(shown(capabilities=told)).capabilities is None


@pytest.mark.parametrize("info", [None, {}, {"general.architecture": 5}])
def test_what_is_not_described_stays_unknown(info: object) -> None:
    found = parse_shown(shown(model_info=info, license=None, details={}))
    assert (found.architecture, found.parameters, found.context_length) == (None, None, None)
    assert (found.licence, found.quantization, found.details) == (None, None, {})


def test_what_a_server_calls_things_is_shown_on_one_line() -> None:
    (tag,) = parse_tags(tags({**TAG, "model": "a\x1b[31m\nb"}))
    assert tag.shown == "a [31m b"
    found = parse_shown(shown(license="\x07\n Mine \x1b[2J", details={"family": "a\nb"}))
    assert (found.licence, found.details["family"]) == ("Mine [2J", "a b")


@pytest.mark.parametrize("absurd", [-1, 0, 1.5, "many", 2**60])
def test_a_number_that_cannot_be_true_is_not_taken(absurd: object) -> None:
    info = {"general.architecture": "x", "x.context_length": absurd}
    assert parse_shown(shown(model_info=info)).context_length is None


@pytest.mark.parametrize("parse", [parse_version, parse_tags, parse_processes, parse_shown])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"hi"', b"\xff\xfe"])
def test_a_list_that_is_none_is_no_list(parse: object, body: bytes) -> None:
    assert callable(parse)
    with pytest.raises(ValueError, match=r".+"):
        parse(body)


def processes(*told: tuple[str, str]) -> tuple[Process, ...]:
    found: Iterable[dict[str, object]] = ({"model": name, "digest": d} for name, d in told)
    return parse_processes(json.dumps({"models": list(found)}).encode())


def test_a_model_is_loaded_under_another_name_of_the_same_content() -> None:
    listed = processes(("other", DIGEST), (MODEL, "b" * 64))
    by_content = loaded(MODEL, DIGEST, listed)
    assert by_content is not None
    assert by_content.title == "other"
    by_name = loaded(MODEL, None, listed)
    assert by_name is not None
    assert by_name.title == MODEL
    assert loaded("third", "c" * 64, listed) is None
