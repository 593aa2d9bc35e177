"""Addresses of servers: what is one, how it is written, and what is never repeated."""

from __future__ import annotations

import pytest

from arbiter.addresses import parse_address, parse_ollama_host
from arbiter.errors import InvalidField


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("  http://10.0.0.7:8000/  ", "http://10.0.0.7:8000"),
        ("HTTP://GPU-Box:8000", "http://gpu-box:8000"),
        ("https://models.example.org", "https://models.example.org"),
        ("gpu-box:8000", "http://gpu-box:8000"),
        ("http://127.0.0.1:12434/engines/v1/", "http://127.0.0.1:12434/engines"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://[2001:DB8:0::7]/x", "http://[2001:db8::7]/x"),
    ],
)
def test_an_address_has_one_form_however_it_is_written(written: str, address: str) -> None:
    assert parse_address(written) == address
    assert parse_address(address) == address


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "0.0.0.0", "[::]", "127.0.0.1"])
def test_this_machine_has_one_name(host: str) -> None:
    # M7 of the review: one llama-server, named both ways, was two models
    assert parse_address(f"http://{host}:8080") == "http://127.0.0.1:8080"


@pytest.mark.security("S-23")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no host"),
        ("http://", "names no host"),
        ("http://:8080", "names no host"),
        ("ftp://box", "begins with http"),
        ("http://a:99999", "its port is none"),
        ("http://a:port", "its port is none"),
        ("http://[::1", "its host or its port"),
        ("http://[nonsense]:1", "its host or its port"),
        ("junk junk", "its host or its port"),
        ("http://a b", "its host or its port"),
        ("http://a\nb", "no blanks"),
        ("http://a/b c", "no blanks"),
        ("http://a/?key=1", "no ?"),
        ("http://a#model", "no #"),
        ("http://a..b", "its host or its port"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidField) as caught:
        parse_address(text)
    assert why in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "http://me:hunter2@10.0.0.7:8000",
        "me:hunter2@10.0.0.7",
        "http://me:hunter2@[nonsense",
        "http://me:hun/hunter2@box",
        "http://me:hunter2",  # what is left of one whose password holds a #
    ],
)
def test_a_password_is_refused_and_never_repeated(text: str) -> None:
    with pytest.raises(InvalidField) as caught:
        parse_address(text)
    assert "hunter2" not in caught.value.sentence


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1:11500", "http://127.0.0.1:11500"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        (":11435", "http://127.0.0.1:11435"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("[::]:11500", "http://127.0.0.1:11500"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:11434", "http://[::1]:11434"),
        ("gpu-box", "http://gpu-box:11434"),
        ("gpu-box/", "http://gpu-box:11434"),
        ("http://gpu-box", "http://gpu-box:80"),
        ("https://gpu-box", "https://gpu-box:443"),
        ("https://gpu-box:8443/ollama/", "https://gpu-box:8443/ollama"),
        ("gpu-box:8000/ollama", "http://gpu-box:8000/ollama"),
        (' "gpu-box:8000" ', "http://gpu-box:8000"),
        ("'::1'", "http://[::1]:11434"),
        ("gpu-box:99999", "http://gpu-box:11434"),
        ("gpu-box:port", "http://gpu-box:11434"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, address: str) -> None:
    assert parse_ollama_host(host) == address


@pytest.mark.parametrize("host", ["junk junk", "ftp://gpu-box", "me:hunter2@box", "http://a:b:c"])
def test_an_ollama_host_that_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(InvalidField):
        parse_ollama_host(host)
