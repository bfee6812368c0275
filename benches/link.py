#!/usr/bin/env python3
"""Is a link of a given rate: passes TCP connections on to HOST:PORT, at most RATE bits a second each way.

  link.py HOST PORT RATE [COUNTS]   prints the local port and passes on until it is killed. RATE 0 does not limit.
                                    COUNTS: a file that always holds the bytes passed so far, up and down, as two
                                    64-bit numbers of this machine (od -An -t u8)
  link.py check RATE...             measures the link itself: throughput each way, and what it costs

What is counted and limited is what TCP carries: with compression and ssh's protocol, without TCP's and Ethernet's
headers, so that a link of 100 Mbit/s here is about 5 % faster than an Ethernet of that name. All connections share the rate; the two
ways are independent, as on a cable. No latency is added. Bytes go from socket to socket by splice(2), without being copied.
"""
import fcntl
import mmap
import os
import socket
import struct
import subprocess
import sys
import threading
import time

LIMITED_CHUNK = 16 << 10    # 13 ms at 10 Mbit/s: how even the flow is
FREE_CHUNK = 1 << 20        # the most that an ordinary user's pipe holds
BURST = 0.02                # seconds that a busy machine may let the link idle, and that are made up for
BUFFER = 64 << 10           # what waits in the kernel is not on the link yet
F_SETPIPE_SZ = 1031


class Way:
    """One direction of the link."""

    def __init__(self, rate, counts, index):
        self.rate, self.counts, self.index = rate, counts, index
        self.passed = 0
        self.free_at = 0.0
        self.lock = threading.Lock()

    def take(self, size):
        """Waits until a number of bytes is through."""
        with self.lock:
            self.passed += size
            struct.pack_into("=Q", self.counts, 8 * self.index, self.passed)
            if not self.rate:
                return
            now = time.monotonic()
            self.free_at = max(self.free_at, now - BURST) + size * 8 / self.rate
            wait = self.free_at - now
        if wait > 0:
            time.sleep(wait)


def pump(source, sink, way):
    chunk = LIMITED_CHUNK if way.rate else FREE_CHUNK
    out, into = os.pipe()
    try:
        fcntl.fcntl(into, F_SETPIPE_SZ, chunk)
        while size := os.splice(source.fileno(), into, chunk):
            way.take(size)
            while size:
                size -= os.splice(out, sink.fileno(), size)
    except OSError:
        pass    # one end closed the connection: the other is told
    os.close(out)
    os.close(into)
    for end, how in ((source, socket.SHUT_RD), (sink, socket.SHUT_WR)):
        try:
            end.shutdown(how)
        except OSError:
            pass


def connection(near, target, ways):
    with near:
        try:
            far = socket.create_connection(target)
        except OSError as error:
            print(f"link: {target[0]}:{target[1]}: {error}", file=sys.stderr)
            return
        with far:
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if ways[0].rate:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            down = threading.Thread(target=pump, args=(far, near, ways[1]), daemon=True)
            down.start()
            pump(near, far, ways[0])
            down.join()


def serve(target, rate, path):
    if path:
        with open(path, "w+b") as file:
            file.truncate(16)
            counts = mmap.mmap(file.fileno(), 16)
    else:
        counts = bytearray(16)
    ways = (Way(rate, counts, 0), Way(rate, counts, 1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            near, _ = listener.accept()
            threading.Thread(target=connection, args=(near, target, ways), daemon=True).start()


# --- the check ------------------------------------------------------------------------------------

def peer(listener):
    """Answers u by reading until the end, d by sending until nobody reads."""
    block = bytes(1 << 20)
    while True:
        connected, _ = listener.accept()
        with connected:
            try:
                if connected.recv(1) == b"d":
                    while True:
                        connected.sendall(block)
                buffer = bytearray(1 << 20)
                while connected.recv_into(buffer):
                    pass
                connected.sendall(b".")
            except OSError:
                pass


def measure(port, way, seconds):
    """Bytes a second that come through."""
    passed, buffer = 0, bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", port)) as link:
        # Small buffers, so that what is counted has passed.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        link.sendall(way.encode())
        start = time.monotonic()
        while time.monotonic() < start + seconds:
            passed += link.send(buffer[: 256 << 10]) if way == "u" else link.recv_into(buffer)
        if way == "u":
            link.shutdown(socket.SHUT_WR)
            link.recv(1)
        return passed / (time.monotonic() - start)


def check(rates):
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=peer, args=(listener,), daemon=True).start()
    far = listener.getsockname()[1]
    direct = measure(far, "u", 2)
    print(f"no link at all: {direct * 8 / 1e6:.0f} Mbit/s up")
    for rate in rates:
        with subprocess.Popen([sys.executable, __file__, "127.0.0.1", str(far), str(rate)], stdout=subprocess.PIPE) as link:
            port = int(link.stdout.readline())
            speeds = [measure(port, way, 5) * 8 / 1e6 for way in "ud"]
            link.terminate()
            _, _, used = os.wait4(link.pid, 0)
        gigabytes = sum(speeds) / 8e3 * 5
        cost = (used.ru_utime + used.ru_stime) / gigabytes
        print(f"{rate / 1e6 or 'no'} {'Mbit/s' if rate else 'limit'}: {speeds[0]:.1f} Mbit/s up, {speeds[1]:.1f} down, {cost:.2f} s of CPU a GB")


def main(arguments):
    if len(arguments) in (3, 4) and arguments[0] != "check":
        return serve((arguments[0], int(arguments[1])), int(arguments[2]), arguments[3] if arguments[3:] else None)
    if len(arguments) > 1 and arguments[0] == "check":
        return check([int(rate) for rate in arguments[1:]])
    sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
