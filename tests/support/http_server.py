"""A tiny HTTP server that answers byte by byte what a test wants, also what no well-behaved server would."""

import contextlib
import os
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """What was asked; headers' names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


RESET = b""
"""As the last piece: the connection is reset, not closed."""

Answer = Callable[[Request], Iterable[bytes]]
"""Returns the pieces that are sent, one after another; then the connection is closed."""


def plain(status: int, body: str | bytes = b"", *headers: str) -> list[bytes]:
    """Return a whole answer."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", *headers, "", ""]
    return ["\r\n".join(lines).encode() + data]


@contextlib.contextmanager
def answering(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Yield the address of a server on 127.0.0.1 that answers so for the length of a `with`."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                if tls is not None:
                    self.request = tls.wrap_socket(self.request, server_side=True)
                    self.setup()
                for piece in answer(self._request()):
                    if piece is RESET:
                        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        # Closed here, as the base class would end the stream properly before it closes.
                        os.close(self.request.detach())
                        return
                    self.wfile.write(piece)

        def _request(self) -> Request:
            method, path, *_ = [*self.rfile.readline().decode().split(), "", ""]
            headers: dict[str, str] = {}
            while line := self.rfile.readline().decode().strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            return Request(method, path, headers, self.rfile.read(int(headers.get("content-length", 0))))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
        thread.start()
        try:
            yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
