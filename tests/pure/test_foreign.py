"""What other programs are configured with, read and never run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from arbiter.cli.foreign import beside_models, less_room, located, read
from arbiter.errors import InvalidField

SWAP = """
healthCheckTimeout: 500
macros:
  server: llama-server --port ${PORT} ${flags}
  flags: --jinja
groups: {coding: {members: [coder]}}
models:
  "tiny:1b":
    name: Tiny
    cmd: |
      # the small one
      ${server}
      -m models/tiny.gguf \\
      -c 8192
      --alias small
    aliases: [small, "gpt-4o-mini"]
    ttl: 300
  coder:
    macros: {path: "/models/my coder.gguf"}
    cmd: /opt/llama-server --model "${path}" -ngl 99 --chat-template-file t.jinja
  cloud:
    cmd: llama-server -hf unsloth/Qwen:Q4
  vllm:
    cmd: docker run --rm vllm/vllm-openai
  broken: {cmd: 'llama-server -m "a'}
  empty: {}
"""


def test_a_llama_swap_configuration_gives_its_models_files_and_aliases() -> None:
    tiny, coder, cloud, vllm, broken, empty = read(SWAP, suffix=".yaml")
    assert (tiny.name, tiny.path, tiny.aliases) == (
        "tiny:1b", "models/tiny.gguf", ("small", "gpt-4o-mini"),
    )  # fmt: skip
    assert tiny.left == ("ttl:", "jinja", "c 8192")
    assert (coder.path, coder.template, coder.left) == (
        "/models/my coder.gguf", "t.jinja", ("ngl 99",),
    )  # fmt: skip
    assert located(tiny, Path("/etc/llama")) == Path("/etc/llama/models/tiny.gguf")
    whys = [one.why or "" for one in (cloud, vllm, broken, empty)]
    assert ["downloaded" in whys[0], "a container" in whys[1]] == [True, True]
    assert ["cannot be read" in whys[2], "no cmd" in whys[3]] == [True, True]


def test_who_has_less_room_here_than_there_is_told() -> None:
    """llama.cpp gives all that a model was made for unless it is told otherwise."""
    found = read(SWAP, suffix=".yaml")
    assert [one.context for one in found] == [8192, None, None, None, None, None]
    told = less_room(found, 4096)
    assert told is not None
    assert "tiny:1b has 8192" in told
    assert "coder has all that it was made for" in told
    assert "at most 4096 tokens" in told
    assert "vllm" not in told, "it has no file, and is no model of this house"
    assert less_room(found[:1], 8192) is None


@pytest.mark.parametrize(
    ("said", "context"),
    [("ctx-size = 0", None), ("c = 512", 512), ("LLAMA_ARG_CTX_SIZE = x", None)],
)
def test_the_room_of_a_preset_is_read_in_every_spelling(said: str, context: int | None) -> None:
    (found,) = read(f"[tiny]\nmodel = /m/t.gguf\n{said}\n", suffix=".ini")
    assert found.context == context


ELSEWHERE = """
hooks: {on_startup: {preload: [box]}}
peers: {other: {proxy: "http://192.0.2.24", apiKey: sk-hunter2}}
models:
  boxed:
    proxy: "http://127.0.0.1:${PORT}"
    cmd: /usr/bin/docker run --rm ghcr.io/ggml-org/llama.cpp:server -m /models/a.gguf
  remote: {proxy: "http://192.0.2.23:8000", cmd: ssh box serve}
  fetched: {cmd: llama-server --model-url https://example.org/a.gguf --hf-token hf_hunter2}
"""


def test_what_runs_elsewhere_is_named_with_the_way_to_connect_it() -> None:
    boxed, remote, fetched = read(ELSEWHERE, suffix=".yaml")
    assert [one.path for one in (boxed, remote, fetched)] == [None, None, None]
    assert boxed.why == (
        "it runs in a container, whose files are not this machine's: "
        "once it runs, name its address under discovery.servers"
    )
    assert remote.why == (
        "it names no model file; once it runs, name http://192.0.2.23:8000 under discovery.servers"
    )
    assert "nothing is downloaded" in (fetched.why or "")
    assert beside_models(ELSEWHERE, suffix=".yaml") == ("hooks:", "peers:")


def test_no_secret_of_a_file_is_repeated() -> None:
    told = (*read(ELSEWHERE, suffix=".yaml"), beside_models(ELSEWHERE, suffix=".yaml"))
    assert "hunter2" not in repr(told)


def test_presets_may_use_the_names_of_variables_and_give_aliases() -> None:
    text = "[a]\nLLAMA_ARG_MODEL = /m/a.gguf\nLLAMA_ARG_CTX_SIZE = 512\nalias = b, c\n"
    (found,) = read(text, suffix=".ini")
    assert (found.path, found.aliases, found.left) == (
        "/m/a.gguf", ("b", "c"), ("llama-arg-ctx-size 512",),
    )  # fmt: skip


def test_a_preset_of_a_repository_says_that_nothing_is_fetched() -> None:
    (found,) = read("[ggml-org/a-GGUF:Q8_0]\nload-on-startup = true\n", suffix=".ini")
    assert "nothing is downloaded" in (found.why or "")


INI = """version = 1
[*]
ctx-size = 4096
[tiny]
model = ./tiny.gguf
temp = 0.7
[ggml-org/cloud]
hf = ggml-org/cloud-GGUF
"""


def test_presets_give_their_models_and_name_what_is_not_taken() -> None:
    tiny, cloud = read(INI, suffix=".INI")
    assert (tiny.name, tiny.path, tiny.left) == (
        "tiny",
        "./tiny.gguf",
        ("temp 0.7", "ctx-size 4096"),
    )
    assert cloud.path is None
    assert "nothing is downloaded" in (cloud.why or "")


@pytest.mark.parametrize(
    ("text", "suffix", "says"),
    [
        ("models: [", ".yaml", "not YAML"),
        ("[]", ".yml", "no model"),
        ("models: {}", ".yaml", "no model"),
        ("models: 3", ".yaml", "no model"),
        ("version = 1", ".ini", "no model"),
        ("[a\nb", ".ini", "no presets"),
        ("{}", ".json", "not known here"),
        ("x", "", "nothing"),
    ],
)
def test_what_is_none_of_these_is_refused_in_words(text: str, suffix: str, says: str) -> None:
    with pytest.raises(InvalidField, match=says):
        read(text, suffix=suffix)


@given(st.text(), st.sampled_from([".yaml", ".ini"]))
def test_any_text_is_read_or_refused(text: str, suffix: str) -> None:
    try:
        found = read(text, suffix=suffix)
    except InvalidField:
        return
    assert found


@given(st.dictionaries(st.text(max_size=5), st.text(), max_size=3), st.text())
def test_macros_that_name_each_other_come_to_an_end(macros: dict[str, str], command: str) -> None:
    text = yaml.safe_dump({"macros": {**macros, "a": "${b}", "b": "${a}"}, "models": {
        "x": {"cmd": f"${{a}} {command}"}}})  # fmt: skip
    (found,) = read(text, suffix=".yaml")
    assert found.name == "x"


def test_nothing_in_a_file_makes_python_objects() -> None:
    with pytest.raises(InvalidField, match="not YAML"):
        read("models: !!python/object/apply:os.system ['true']", suffix=".yaml")
