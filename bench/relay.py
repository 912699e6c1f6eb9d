"""A relay between two regions that counts bytes, delays them and holds them to a rate, each direction by itself.

A byte leaves half a round trip after it came, at the earliest when the rate lets it: what an application's own waiting for
answers costs, with a TCP that never loses or slows down. One process, a thread for each direction of each connection.

    relay.py LISTEN_PORT TARGET_PORT ROUND_TRIP_SECONDS BYTES_PER_SECOND

Prints the bytes of both directions when its standard input ends. A rate of 0 is none. Standard library only.
"""

import collections
import socket
import sys
import threading
import time

PIECE_BYTES = 64 << 10
# What a direction holds at most: more than a gigabit at 300 ms needs.
HELD_BYTES_MAX = 64 << 20


class Link:
    """One direction of all connections together: its rate, and what it carried."""

    def __init__(self, delay_seconds, bytes_per_second):
        self.delay_seconds, self.bytes_per_second = delay_seconds, bytes_per_second
        self.lock, self.free_at, self.carried_bytes = threading.Lock(), 0.0, 0

    def due(self, size):
        """When a piece that came now has arrived."""
        now = time.monotonic()
        with self.lock:
            self.carried_bytes += size
            begins = max(now, self.free_at)
            self.free_at = begins + (size / self.bytes_per_second if self.bytes_per_second else 0)
            return self.free_at + self.delay_seconds


class Direction:
    """One direction of one connection: a reader and a writer with a queue between them."""

    def __init__(self, link, source, destination):
        self.link, self.source, self.destination = link, source, destination
        self.pieces, self.held_bytes, self.changed = collections.deque(), 0, threading.Condition()
        for work in (self.read, self.write):
            threading.Thread(target=work, daemon=True).start()

    def read(self):
        while True:
            try:
                piece = self.source.recv(PIECE_BYTES)
            except OSError:
                piece = b""
            due = self.link.due(len(piece))
            with self.changed:
                self.changed.wait_for(lambda: self.held_bytes < HELD_BYTES_MAX)
                self.pieces.append((due, piece))
                self.held_bytes += len(piece)
                self.changed.notify_all()
            if not piece:
                return

    def write(self):
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.pieces)
                due, piece = self.pieces.popleft()
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            try:
                if not piece:
                    self.destination.shutdown(socket.SHUT_WR)
                    return
                self.destination.sendall(piece)
            except OSError:
                self.source.close()
                return
            with self.changed:
                self.held_bytes -= len(piece)
                self.changed.notify_all()


def main():
    listen_port, target_port = int(sys.argv[1]), int(sys.argv[2])
    there, back = (Link(float(sys.argv[3]) / 2, float(sys.argv[4])) for _ in range(2))
    listener = socket.create_server(("127.0.0.1", listen_port))

    def accept():
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", target_port))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Direction(there, near, far)
            Direction(back, far, near)

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()
    print(there.carried_bytes, back.carried_bytes)


if __name__ == "__main__":
    main()
