"""Clients that ask the same thing again and again, each a process of its own, and what their waiting came to.

A client speaks HTTP/1.1 over a plain socket and reads an answer by its length; it does not look into it. So it takes
little of the processors that it shares with the service. Standard library only.
"""

import multiprocessing
import socket
import time


class Connection:
    """One keep-alive connection, opened again when the service closed it."""

    def __init__(self, port, token, patience_seconds=60):
        self.port, self.token, self.patience_seconds, self.socket = port, token, patience_seconds, None

    def get(self, path):
        """The seconds until the whole answer was there, its status, and its length."""
        request = (f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-Auth-Token: {self.token}\r\n\r\n").encode()
        begun = time.perf_counter()
        for is_last in (False, True):
            try:
                status, body = self._exchange(request)
                return time.perf_counter() - begun, status, body
            except (ConnectionError, BrokenPipeError):
                # An idle connection may be closed at any moment; that is no answer, and asking again is lawful.
                self.close()
                if is_last:
                    raise
        raise AssertionError("not reached")

    def _exchange(self, request):
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=self.patience_seconds)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(request)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionResetError("closed")
            head += piece
        head, _, body = head.partition(b"\r\n\r\n")
        status = int(head[9:12])
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        left = length - len(body)
        while left > 0:
            piece = self.socket.recv(min(left, 1 << 20))
            if not piece:
                raise ConnectionResetError("closed")
            left -= len(piece)
        return status, length

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def _client(port, token, path, count, until, keeps_connection, results):
    connection, waits, statuses, length = Connection(port, token), [], set(), 0
    while len(waits) < count and (until is None or time.monotonic() < until):
        seconds, status, length = connection.get(path)
        waits.append(seconds)
        statuses.add(status)
        if not keeps_connection:
            connection.close()
    results.send((waits, statuses, length))
    results.close()


def ask(port, token, path, clients=1, count=200, seconds=None, keeps_connection=True):
    """All waits of so many clients, each asking `count` times or for so many seconds, and the length of an answer."""
    until = None if seconds is None else time.monotonic() + seconds
    running = []
    for _ in range(clients):
        here, there = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.Process(target=_client, args=(port, token, path, count, until, keeps_connection, there))
        process.start()
        there.close()
        running.append((process, here))
    waits, length = [], 0
    for process, here in running:
        some, statuses, length = here.recv()
        process.join()
        if not statuses <= {200}:
            raise RuntimeError(f"{path}: {sorted(statuses)}")
        waits += some
    return waits, length


def percentile(waits, share):
    """The wait that this share of all waits does not exceed."""
    ordered = sorted(waits)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
