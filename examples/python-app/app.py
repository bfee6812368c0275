"""Counts pallets, as if: reads its settings once, writes a line to its log now and then, and serves its state.

Everything it keeps is in /share, a volume that shows ~/share on the VPU; the container itself can be thrown away.
"""
import http.server
import json
import pathlib
import signal
import sys
import threading

SHARE = pathlib.Path("/share")
settings = json.loads((SHARE / "config/app.json").read_text())
log = (SHARE / "logs/app.log").open("a", buffering=1)
state = {"counted": 0, "name": settings["name"]}


def say(text):
    print(text)
    log.write(text + "\n")


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(state).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def count():
    state["counted"] += 1
    say(f"{settings['name']}: {state['counted']} pallets")
    timer = threading.Timer(settings["seconds"], count)
    timer.daemon = True
    timer.start()


# A container's first process gets no default signal handlers: without this, stopping takes docker's 10 seconds.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
say(f"started as {settings['name']}")
count()
http.server.ThreadingHTTPServer(("", 8090), Answer).serve_forever()
