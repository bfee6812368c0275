#!/usr/bin/env python3
"""Passes one TCP connection after another on to HOST:PORT, at most RATE bits a second each way.

  link.py HOST PORT RATE      RATE 0 does not limit. Prints the local port; counts bytes in FILE on SIGUSR1:
  link.py HOST PORT RATE FILE

Bytes are counted as they are sent, so that compression and protocol are in the figure.
"""
import signal
import socket
import sys
import threading
import time

host, port, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
count = {"up": 0, "down": 0}
CHUNK = 16 << 10


def report(*_):
    with open(sys.argv[4], "w") as file:
        file.write(f"{count['up']} {count['down']}\n")
    count["up"] = count["down"] = 0


class Bucket:
    """Lets so many bits a second through; a burst of a hundredth of a second at the most."""

    def __init__(self):
        self.free_at = 0.0
        self.lock = threading.Lock()

    def take(self, size):
        if not rate:
            return
        with self.lock:
            now = time.monotonic()
            start = max(self.free_at, now - 0.01)
            self.free_at = start + size * 8 / rate
            wait = self.free_at - now
        if wait > 0:
            time.sleep(wait)


buckets = {"up": Bucket(), "down": Bucket()}


def pump(source, sink, way):
    try:
        while data := source.recv(CHUNK):
            buckets[way].take(len(data))
            count[way] += len(data)
            sink.sendall(data)
    except OSError:
        pass
    for end, how in ((source, socket.SHUT_RD), (sink, socket.SHUT_WR)):
        try:
            end.shutdown(how)
        except OSError:
            pass


signal.signal(signal.SIGUSR1, report)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    near, _ = listener.accept()
    far = socket.create_connection((host, port))
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if rate:
            # What waits in the kernel's buffers is not on the link yet.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    threading.Thread(target=pump, args=(near, far, "up"), daemon=True).start()
    threading.Thread(target=pump, args=(far, near, "down"), daemon=True).start()
