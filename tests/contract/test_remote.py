"""HTTP to servers that do as they like: what is told apart, what is asked again, what never is."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from arbiter.engines.remote import CARRIED, Ear, Remote

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\n\r\nall there is"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSE = None
"""Instead of an answer: hang up."""

Say = bytes | None


async def turned(seconds: float = 0.0) -> None:
    """Others have had their turn, for so long."""
    loop = asyncio.get_running_loop()
    turn: asyncio.Future[None] = loop.create_future()
    loop.call_later(seconds, turn.set_result, None)
    await turn


@dataclass
class Server:
    """Says what it was told to, one after the other for each connection; CLOSE hangs up."""

    says: Sequence[Sequence[Say]]
    hangs_up: bool = False
    again: bytes = b""
    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    opened: int = 0
    asked_twice: asyncio.Event = field(default_factory=asyncio.Event)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        says = self.says[min(self.opened, len(self.says) - 1)]
        self.opened += 1
        try:
            for said in says:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                if len(self.heads) == 2:
                    self.asked_twice.set()
                size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(size or 0))
                if said is CLOSE:
                    return
                writer.write(said)
                await writer.drain()
                if self.hangs_up:
                    return
                while self.again:
                    writer.write(self.again)
                    await writer.drain()
                    await turned()
            await reader.read()
            self.hung_up.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up.set()
        finally:
            writer.close()


@asynccontextmanager
async def served(
    *says: Sequence[Say],
    hangs_up: bool = False,
    again: bytes = b"",
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    """Such a server. hangs_up: after whatever it has said. again: what it says then, for ever."""
    one = Server(says, hangs_up, again)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await one.serve(reader, writer)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    scheme = "http" if context is None else "https"
    one.url = f"{scheme}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield one
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def asking(url: str, *, key: str | None = None, keep: bool = True) -> AsyncIterator[Remote]:
    remote = Remote(url, key=key, keep=keep)
    try:
        yield remote
    finally:
        await remote.close()


async def asked(remote: Remote) -> bytes:
    return (await remote.post("/x", b"{}", silence_s=5)).body


async def test_a_connection_is_used_again() -> None:
    async with served([OK, OK, OK]) as server, asking(server.url) as remote:
        assert [await asked(remote) for _ in range(3)] == [b"ok"] * 3
        assert server.opened == 1


async def test_none_is_used_again_where_none_is_to_be_kept() -> None:
    async with served([OK]) as server, asking(server.url, keep=False) as remote:
        assert [await asked(remote) for _ in range(2)] == [b"ok"] * 2
        assert server.opened == 2
        assert b"connection: close" in server.heads[0].lower()


@pytest.mark.parametrize(
    "says",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
        OK + b"more",
    ],
)
async def test_none_is_used_again_whose_server_ends_it_or_says_more_than_it_was_asked(
    says: bytes,
) -> None:
    async with served([says, says]) as server, asking(server.url) as remote:
        assert [await asked(remote) for _ in range(2)] == [b"ok"] * 2
        assert server.opened == 2


async def test_a_request_that_was_lost_with_a_kept_connection_is_sent_once_more() -> None:
    async with served([OK, CLOSE], [OK]) as server, asking(server.url) as remote:
        assert [await asked(remote) for _ in range(2)] == [b"ok"] * 2
        assert (server.opened, len(server.heads)) == (2, 3)


async def test_it_is_sent_on_a_fresh_one_however_many_stale_ones_there_are() -> None:
    async with served([OK, CLOSE], [OK, CLOSE], [OK, OK]) as server, asking(server.url) as remote:
        with (
            await remote.ask("GET", "/x", silence_s=5) as one,
            await remote.ask("GET", "/x", silence_s=5) as other,
        ):
            assert [await one.receive_all(), await other.receive_all()] == [b"ok", b"ok"]
        assert await asked(remote) == b"ok"
        assert (server.opened, len(server.heads)) == (3, 4)


@pytest.mark.parametrize("more", [b"HTTP/1.1 500 No\r\nX: y\r\n\r\n", b"HTTP/1.1 500 No\r\nX:"])
async def test_what_follows_an_answer_unasked_changes_nothing_of_it(more: bytes) -> None:
    async with served([OK + more]) as server, asking(server.url) as remote:
        found = await remote.get("/x", silence_s=5)
        assert (found.status, found.body, "x" in found.headers) == (200, b"ok", False)
        await server.hung_up.wait()


async def test_what_comes_on_a_connection_that_nobody_uses_ends_it() -> None:
    says = OK + b"HTTP/1.1 200 OK\r\n"
    async with served([says], [OK], again=b"X: y\r\n") as server, asking(server.url) as remote:
        assert await asked(remote) == b"ok"
        await server.hung_up.wait()


@pytest.mark.parametrize(
    ("says", "again"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"2", b";x=" + b"y" * 1000),
        (CHUNKED + b"0\r\n", b"X: y\r\n"),
        (CHUNKED + b"0\r\nX: ", b"y" * 1000),
    ],
)
async def test_bytes_without_end_that_bring_nothing_are_cut(says: bytes, again: bytes) -> None:
    async with served([says], again=again) as server, asking(server.url) as remote:
        with pytest.raises(ValueError, match="nothing to say"):
            await asked(remote)
        await server.hung_up.wait()


async def test_a_server_that_says_a_little_now_and_then_is_silent_all_the_same() -> None:
    ticks = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"2;x=")
        while not writer.is_closing():
            writer.write(b"y")
            await turned(0.02)
        ticks.set()

    listening = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with asking(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}") as remote:
        with pytest.raises(TimeoutError, match="silent"):
            await remote.get("/x", silence_s=0.2)
    await ticks.wait()
    listening.close()


async def test_what_follows_the_last_chunk_is_no_header_of_the_answer() -> None:
    says = CHUNKED + b"2\r\nok\r\n0\r\nRetry-After: 9\r\n\r\n"
    async with served([says, OK]) as server, asking(server.url) as remote:
        found = await remote.get("/x", silence_s=5)
        assert (found.body, found.headers.get("retry-after")) == (b"ok", None)
        assert await asked(remote) == b"ok"
        assert server.opened == 1


async def test_an_answer_that_is_cut_here_has_not_ended() -> None:
    async with served([UNTIL_CLOSED]) as server, asking(server.url) as remote:
        with await remote.ask("GET", "/x", silence_s=5) as stream:
            assert await stream.receive() == b"all there is"
            await remote.close()
            with pytest.raises(ConnectionError):
                await stream.receive()
        await server.hung_up.wait()


async def test_only_what_a_header_can_carry_is_carried() -> None:
    async with served([OK]) as server, asking(server.url) as remote:
        told = {"traceparent": "00-1", "tracestate": "a\r\nHost: b", "x: y\r\nz": "c", "é": "d"}
        token = CARRIED.set(told)
        await asked(remote)
        CARRIED.reset(token)
    assert b"traceparent: 00-1\r\n" in server.heads[0]
    assert not any(name in server.heads[0] for name in (b"tracestate", b"Host: b", b"z: c"))


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_a_fresh_connection_that_breaks_is_an_error(says: bytes) -> None:
    async with served([says], hangs_up=True) as server, asking(server.url) as remote:
        with pytest.raises(ConnectionError):
            await asked(remote)
        assert len(server.heads) == 1


async def test_an_answer_that_has_begun_is_never_asked_for_again() -> None:
    async with served([OK, b"HTTP/1.1 2"]) as server, asking(server.url) as remote:
        await asked(remote)
        with pytest.raises(TimeoutError):
            await remote.post("/x", b"{}", silence_s=0.1)
        assert len(server.heads) == 2


async def test_an_answer_may_end_with_its_connection() -> None:
    async with served([UNTIL_CLOSED], hangs_up=True) as server, asking(server.url) as remote:
        assert [await asked(remote) for _ in range(2)] == [b"all there is"] * 2


@pytest.mark.parametrize(
    ("says", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", ConnectionError),
        (CHUNKED + b"2\r\nok\r\n", ConnectionError),
        (CHUNKED + b"2\r\nok\r\nnonsense\r\n", ValueError),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, ValueError),
        (b"HTTP/1.1 101 Other\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", ValueError),
    ],
)
async def test_an_answer_that_breaks_off_and_one_that_is_none_are_told_apart(
    says: bytes, error: type[Exception]
) -> None:
    async with served([says], hangs_up=True) as server, asking(server.url) as remote:
        with pytest.raises(error):
            await asked(remote)


async def test_information_before_an_answer_is_no_answer() -> None:
    says = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK
    async with served([says, OK]) as server, asking(server.url) as remote:
        assert [await asked(remote) for _ in range(2)] == [b"ok"] * 2
        assert server.opened == 1


async def test_a_redirect_is_told_and_not_followed() -> None:
    says = b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n"
    async with served([says]) as server, asking(server.url) as remote:
        found = await remote.get("/x", silence_s=5)
        assert (found.status, found.headers["location"]) == (302, "http://elsewhere/")
        assert len(server.heads) == 1


async def test_what_is_sent() -> None:
    async with served([OK, OK]) as server, asking(server.url + "/deep/", key="s3cret") as remote:
        await remote.post("/x?a=b", b'{"a":1}', silence_s=5)
        await remote.get("/y", silence_s=5)
    first, second = (head.decode().split("\r\n") for head in server.heads)
    assert first[0] == "POST /deep/x?a=b HTTP/1.1"
    assert "Authorization: Bearer s3cret" in first
    assert {"Content-Type: application/json", "Content-Length: 7"} <= {*first}
    assert second[0] == "GET /deep/y HTTP/1.1"
    assert not any(line.startswith("Content-") for line in second)


@pytest.mark.parametrize(
    ("url", "key", "path"),
    [
        ("ftp://127.0.0.1", None, "/x"),
        ("http://", None, "/x"),
        ("http://127.0.0.1:99999", None, "/x"),
        ("http://127.0.0.1:1", "two\r\nlines", "/x"),
        ("http://127.0.0.1:1", "", "/x"),
        ("http://127.0.0.1:1", None, "/x HTTP/1.1\r\nX: y"),
        ("http://127.0.0.1:1", None, "x"),
    ],
)
async def test_no_header_is_made_of_an_address_a_key_or_a_path(
    url: str, key: str | None, path: str
) -> None:
    async with asking(url, key=key) as remote:
        with pytest.raises(ValueError, match=r"address|key|path|[Pp]ort"):
            await remote.get(path, silence_s=5)


async def test_nobody_there_is_told_in_the_systems_words() -> None:
    async with served([OK]) as server:
        url = server.url
    async with asking(url) as remote:
        with pytest.raises(ConnectionRefusedError, match="Connection refused"):
            await asked(remote)


@pytest.mark.parametrize("begins", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"])
async def test_silence_ends_by_the_clock(begins: bytes) -> None:
    async with served([begins]) as server, asking(server.url) as remote:
        with pytest.raises(TimeoutError, match="silent"):
            await remote.get("/x", silence_s=0.05)
        await server.hung_up.wait()


async def test_an_ear_waits_no_longer_than_for_the_whole() -> None:
    says = CHUNKED + b"2\r\nok\r\n"
    async with served([says]) as server, asking(server.url) as remote:
        with await remote.ask("GET", "/x", silence_s=60) as stream:
            ear = Ear(stream, first_s=60, next_s=60, whole_s=0.05)
            assert await ear.receive(news=0, begun=False) == b"ok"
            with pytest.raises(TimeoutError):
                await ear.receive(news=0, begun=True)


async def test_an_answer_of_many_waits_is_not_cut_by_a_bound_on_each() -> None:
    async with served([CHUNKED + b"2\r\nok\r\n"]) as server, asking(server.url) as remote:
        with await remote.ask("GET", "/x", silence_s=60) as stream:
            assert await stream.receive() == b"ok"
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await stream.receive(0.02)
        await server.hung_up.wait()


async def test_leaving_before_the_end_hangs_up() -> None:
    async with served([CHUNKED + b"2\r\nok\r\n"]) as server, asking(server.url) as remote:
        with await remote.ask("GET", "/x", silence_s=5) as stream:
            assert await stream.receive() == b"ok"
        await server.hung_up.wait()


async def test_closing_cuts_what_goes_on_and_nothing_is_sent_again() -> None:
    async with served([OK, b""]) as server, asking(server.url) as remote:
        await asked(remote)
        under_way = asyncio.create_task(asked(remote))
        await server.asked_twice.wait()
        await remote.close()
        with pytest.raises(ConnectionError):
            await under_way
        with pytest.raises(ConnectionAbortedError):
            await asked(remote)
        assert len(server.heads) == 2


async def test_a_body_larger_than_what_is_taken_is_refused() -> None:
    says = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000)
    async with served([says]) as server, asking(server.url) as remote:
        with (
            await remote.ask("GET", "/x", silence_s=5) as stream,
            pytest.raises(ValueError, match="more than 100000 bytes"),
        ):
            await stream.receive_all(most=100_000)
        await server.hung_up.wait()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate by openssl")
async def test_a_certificate_that_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", str(key), "-out", str(certificate),
    )  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)  # noqa: ASYNC221  # before anything runs
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with served([OK], context=context) as server, asking(server.url) as remote:
        with pytest.raises(ConnectionRefusedError, match="certificate"):
            await asked(remote)
        assert not server.heads
        assert not remote._open  # nothing is kept of one that was never made
