"""A TCP line to a server that counts, and that a test can make slow, silent or short."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress

_CHUNK = 65536


class Line:
    """What connects to `port` here reaches `to_port` there. Close it at the end.

    `delay`: seconds that each answer is held back. `silent`: answers are swallowed from now on. `deaf`:
    requests are. `cut_after`: so many bytes of the next answer pass, then that connection breaks.
    `exchanges` counts requests that were followed by an answer, `connections` the connections.
    """

    def __init__(self, to_port: int) -> None:
        self.delay = 0.0
        self.silent = self.deaf = False
        self.cut_after: int | None = None
        self.exchanges = self.connections = 0
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    def break_connections(self) -> None:
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)  # its thread wakes, and closes it
        self._pairs.clear()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.break_connections()
        for thread in self._threads:
            thread.join(10)

    def _listen(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to_port))
            except OSError:
                near.close()
                continue
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._pairs.append((near, far))
            thread = threading.Thread(target=self._carry, args=(near, far), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        asked = False
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(near, selectors.EVENT_READ)
                selector.register(far, selectors.EVENT_READ)
                while True:
                    for key, _ in selector.select():
                        data = key.fileobj.recv(_CHUNK)  # type: ignore[union-attr]
                        if not data:
                            return
                        if key.fileobj is near:
                            asked = True
                            if not self.deaf:
                                far.sendall(data)
                            continue
                        self.exchanges += asked
                        asked = False
                        if not self._answer(near, data):
                            return
        except OSError:
            return
        finally:
            near.close()
            far.close()

    def _answer(self, near: socket.socket, data: bytes) -> bool:
        if self.silent:
            return True
        if self.delay:
            time.sleep(self.delay)
        if self.cut_after is not None:
            length, self.cut_after = self.cut_after, None
            near.sendall(data[:length])
            return False
        near.sendall(data)
        return True
