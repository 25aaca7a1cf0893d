"""A small HTTP server for routers' tests: `naming_server.py NAME PORT`. Needs nothing but the standard library.

Answers everything with its name: '/ready' with 503 between SIGUSR1 and SIGUSR2, '/absent' with 404, '/slow?<seconds>'
late, '/drop?<word>' not at all by closing the connection, '/dropped?<word>' with how often that was, all the rest with
200 at once. Requests have no bodies.
"""

import asyncio
import signal
import sys
from typing import ClassVar


class Server(asyncio.Protocol):
    """One connection, kept alive; requests one after the other, as HAProxy sends them."""

    failing = False
    dropped: ClassVar[dict[bytes, int]] = {}

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if path.startswith(b"/slow?"):
                asyncio.get_running_loop().call_later(float(path.partition(b"?")[2]), self.answer, b"200 OK")
            elif path.startswith(b"/drop?"):
                self.drop(path.partition(b"?")[2])
            elif path.startswith(b"/dropped?"):
                self.answer(b"200 OK", str(Server.dropped.get(path.partition(b"?")[2], 0)).encode())
            elif path == b"/ready" and Server.failing:
                self.answer(b"503 Service Unavailable")
            else:
                self.answer(b"404 Not Found" if path == b"/absent" else b"200 OK")

    def answer(self, status: bytes, body: bytes = b"") -> None:
        assert self.transport is not None
        body = body or self.name
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))

    def drop(self, word: bytes) -> None:
        assert self.transport is not None
        Server.dropped[word] = Server.dropped.get(word, 0) + 1
        self.transport.close()


def set_failing(failing: bool) -> None:
    Server.failing = failing


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, set_failing, True)
    loop.add_signal_handler(signal.SIGUSR2, set_failing, False)
    server = await loop.create_server(lambda: Server(sys.argv[1]), "127.0.0.1", int(sys.argv[2]), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
