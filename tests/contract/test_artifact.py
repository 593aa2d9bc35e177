"""Model files on a real disk: what is examined, what is refused, and what counts as changed."""

from __future__ import annotations

import json
import os
import socket
import struct
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from arbiter.errors import InvalidField, ModelFileError
from arbiter.refs import parse_name, parse_version
from arbiter.registry.artifact import Artifact, examine, is_unchanged, verify


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(
    *,
    template: str | None = "{{ messages }}",
    name: str = "Tiny Model",
    weight: float = 1.0,
    more: tuple[bytes, ...] = (),
    tensors: int = 1,
) -> bytes:
    entries = [
        _text(key) + struct.pack("<I", 8) + _text(value)
        for key, value in {
            "general.architecture": "llama",
            "general.name": name,
            "general.license": "mit",
            "tokenizer.chat_template": template,
        }.items()
        if value is not None
    ]
    entries += [
        _text(f"llama.{key}") + struct.pack("<II", 4, value)
        for key, value in {
            "context_length": 256,
            "block_count": 2,
            "embedding_length": 8,
            "attention.head_count": 2,
        }.items()
    ]
    entries += more
    head = b"GGUF" + struct.pack("<IQQ", 3, tensors, len(entries)) + b"".join(entries)
    head += (_text("w") + struct.pack("<IQIQ", 1, 4, 0, 0)) * tensors
    return head + bytes(-len(head) % 32) + struct.pack("<4f", *[weight] * 4) * tensors


def _number(key: str, value: int) -> bytes:
    return _text(key) + struct.pack("<II", 4, value)


SCRIPT = {"arbiter_script": 1, "name": "Echo One", "context": 128, "capabilities": ["chat"]}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf())
    return path


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _fault(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        examine(path)
    return caught.value.sentence


def test_a_gguf_file_is_examined(model: Path) -> None:
    artifact = examine(model)
    assert parse_version(artifact.version)
    assert (artifact.format, artifact.path) == ("gguf", str(model.resolve()))
    assert artifact.identity is not None
    assert artifact.size_bytes == artifact.identity.size == model.stat().st_size
    assert (artifact.architecture, artifact.parameters) == ("llama", 4)
    assert (artifact.quantization, artifact.context_length) == ("F32", 256)
    assert artifact.kv_bytes_per_token == 2 * 2 * 8 * 2
    assert artifact.capabilities == {"completion", "chat"}
    assert (artifact.licence, artifact.name_hint) == ("mit", "tiny-model")
    assert artifact.provenance["general.name"] == "Tiny Model"


def test_a_script_is_examined(tmp_path: Path) -> None:
    artifact = examine(_write(tmp_path / "echo.json", json.dumps(SCRIPT).encode()))
    assert (artifact.format, artifact.architecture) == ("script", "script")
    assert (artifact.name_hint, artifact.context_length) == ("echo-one", 128)
    assert artifact.capabilities == {"chat"}
    assert artifact.template_digest is None


def test_a_script_that_says_little_takes_its_name_from_the_file(tmp_path: Path) -> None:
    artifact = examine(_write(tmp_path / "Small Talk.json", b'{"arbiter_script": {}}'))
    assert (artifact.name_hint, artifact.context_length) == ("small-talk", None)
    assert artifact.capabilities == {"chat", "completion"}


def test_an_artifact_survives_being_written_down(model: Path) -> None:
    artifact = examine(model, options={"chat_template": "x", "a": "b"})
    assert msgspec.json.decode(msgspec.json.encode(artifact), type=Artifact) == artifact


def test_the_same_content_twice_is_one_version(model: Path, tmp_path: Path) -> None:
    other = examine(_write(tmp_path / "copy.gguf", model.read_bytes()))
    assert other.version == examine(model).version
    assert other.identity != examine(model).identity


@pytest.mark.security("S-19")
@pytest.mark.parametrize(
    "content", [gguf(weight=2.0), gguf(template="{{ other }}"), gguf(template=None)]
)
def test_other_weights_or_another_template_are_another_version(
    model: Path, tmp_path: Path, content: bytes
) -> None:
    assert examine(_write(tmp_path / "b.gguf", content)).version != examine(model).version


@pytest.mark.security("S-19")
def test_an_overriding_template_is_another_version_of_the_same_weights(model: Path) -> None:
    plain, other = examine(model), examine(model, options={"chat_template": "{% if tools %}"})
    assert plain.version != other.version
    assert plain.template_digest != other.template_digest
    assert plain.content_digest == other.content_digest
    assert other.capabilities == {"completion", "chat", "tools"}


def test_overriding_a_template_with_itself_changes_nothing(model: Path) -> None:
    same = examine(model, options={"chat_template": "{{ messages }}"})
    assert same.version == examine(model).version


def test_options_that_change_the_output_make_another_version_in_any_order(model: Path) -> None:
    one = examine(model, options={"rope": "1", "cache": "q8"})
    assert one.version == examine(model, options={"cache": "q8", "rope": "1"}).version
    assert one.version != examine(model).version


def test_an_option_that_is_no_text_is_refused(model: Path) -> None:
    with pytest.raises(InvalidField, match="is not text"):
        examine(model, options={"chat_template": "\ud800"})


def test_a_link_is_followed_and_the_file_itself_recorded(model: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(model)
    assert examine(link).path == str(model.resolve())


def test_a_gguf_file_needs_no_suffix(tmp_path: Path) -> None:
    assert examine(_write(tmp_path / "blob.bin", gguf())).format == "gguf"


@pytest.mark.security("S-16", "S-20")
@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.gguf", b"", "is empty"),
        ("a.gguf", b"nonsense", "it is not GGUF"),
        ("a.bin", b"tjgg" + bytes(100), "older GGML format"),
        ("a.gguf", b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        ("a.pt", b"PK\x03\x04", "runs code when it is loaded"),
        ("a.pkl", b"(dp0", "runs code when it is loaded"),
        ("pytorch_model.bin", b"anything", "runs code when it is loaded"),
        ("a", b"\x80\x04\x95", "runs code when it is loaded"),
        ("model.safetensors", b"\x10" + bytes(20), "Convert the model to GGUF"),
        ("a", struct.pack("<Q", 20) + b'{"w":{}}', "Convert the model to GGUF"),
        ("a.onnx", b"\x08\x07", "Arbiter knows GGUF files and JSON scripts"),
        ("a.json", b"{", "is not valid JSON"),
        ("a.json", b"{" + b'"a":[' * 100_000, "is not valid JSON"),
        ("a.json", b"{}", 'without the key "arbiter_script"'),
        ("a.json", b'{"arbiter_script": 1, "name": 2}', '"name" must be a text'),
        ("a.json", b'{"arbiter_script": 1, "context": 0}', '"context" must be a number'),
        ("a.json", b'{"arbiter_script": 1, "context": true}', '"context" must be a number'),
        ("a.json", b'{"arbiter_script": 1, "capabilities": "x"}', "must be a list of words"),
        ("a.json", b"{" + b" " * (4 << 20), "a script has at most"),
        ("a.gguf", gguf(tensors=0), "only a vocabulary"),
        ("a.gguf", gguf(more=(_number("split.count", 3),)), "part 1 of 3 of a split model"),
        (
            "a.gguf",
            gguf(more=(_text("general.type") + struct.pack("<I", 8) + _text("adapter"),)),
            "of the type 'adapter'",
        ),
        ("a.gguf", gguf()[:-1], "The download may be incomplete"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_reason(
    tmp_path: Path, name: str, content: bytes, fault: str
) -> None:
    sentence = _fault(_write(tmp_path / name, content))
    assert fault in sentence
    assert name in sentence


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "There is no file" in _fault(tmp_path / "gone.gguf")


@pytest.mark.security("S-21")
def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert "is a directory" in _fault(tmp_path)


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "leads nowhere" in _fault(tmp_path / "loop")


def test_a_path_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "leads nowhere" in _fault(Path("a\0b"))
    assert "leads nowhere" in _fault(Path("a" * 5000))
    assert "is not UTF-8" in _fault(_write(tmp_path / os.fsdecode(b"a\xff"), gguf()))


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "a pipe, a socket or a device" in _fault(tmp_path / "pipe")


def test_a_device_is_refused() -> None:
    assert "a pipe, a socket or a device" in _fault(Path("/dev/zero"))


def test_a_socket_is_refused() -> None:
    # Not in tmp_path: the path of a socket has at most some hundred characters.
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/s")
        assert "a pipe, a socket or a device" in _fault(Path(folder, "s"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(model: Path) -> None:
    model.chmod(0)
    assert "cannot be read: Permission denied" in _fault(model)


def test_an_untouched_file_is_unchanged(model: Path) -> None:
    artifact = examine(model)
    assert is_unchanged(artifact)
    assert verify(artifact) is None


def test_a_file_replaced_by_its_twin_is_touched_but_still_the_version(
    model: Path, tmp_path: Path
) -> None:
    artifact = examine(model)
    _write(tmp_path / "twin", model.read_bytes()).replace(model)
    assert not is_unchanged(artifact)
    assert verify(artifact) is None


def test_a_change_that_keeps_size_and_mtime_is_noticed(model: Path) -> None:
    artifact = examine(model)
    was = model.stat()
    model.write_bytes(gguf(weight=3.0))
    os.utime(model, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert model.stat().st_size == was.st_size
    assert not is_unchanged(artifact)
    assert "has other content" in (verify(artifact) or "")


def test_a_link_that_was_turned_elsewhere_does_not_change_the_version(
    model: Path, tmp_path: Path
) -> None:
    link = tmp_path / "current.gguf"
    link.symlink_to(model)
    artifact = examine(link)
    link.unlink()
    link.symlink_to(_write(tmp_path / "other.gguf", gguf(weight=9.0)))
    assert is_unchanged(artifact)
    assert verify(artifact) is None


def test_a_file_that_is_gone_or_spoilt_is_no_longer_the_version(model: Path) -> None:
    artifact = examine(model)
    model.write_bytes(gguf()[:-1])
    assert "ends at byte" in (verify(artifact) or "")
    model.unlink()
    assert not is_unchanged(artifact)
    assert "There is no file" in (verify(artifact) or "")


def test_a_record_with_other_options_than_its_version_is_noticed(model: Path) -> None:
    artifact = examine(model)
    forged = replace(artifact, options={"rope": "2"})
    assert "is not that of" in (verify(forged) or "")


@pytest.mark.parametrize(
    "name", ["auto", "../../etc/passwd", "", "x" * 500, "\u00e9\u00e8", "a..b", "task:x", "Q/W"]
)
def test_the_suggested_name_can_always_be_registered(tmp_path: Path, name: str) -> None:
    hint = examine(_write(tmp_path / "auto", gguf(name=name))).name_hint
    assert parse_name(hint) == hint
