#!/usr/bin/env python3
"""Asks a TOML language server about a manifest, as an editor does.

Usage: lsp.py SCHEMA SERVER [ARGS...]. Fails unless keys are completed, explained on hovering, and
marked when they are unknown.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

# More than a slow machine needs to answer; a server that hangs must not hang the tests.
TIMEOUT_SECONDS = 60

MANIFEST = """#:schema ./schemas/deploy.schema.json
[vpu]
host = "192.168.0.69"

[release]
name = "palletizer"

[[compose]]
name = "palletizer"
stat = "running"
"""


class Server:
    """A language server that is spoken to over its standard input and output."""

    def __init__(self, command, directory):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=directory
        )
        self.watchdog = threading.Timer(TIMEOUT_SECONDS, self.process.kill)
        self.watchdog.daemon = True
        self.watchdog.start()
        self.requests = 0
        self.diagnostics = {}

    def stop(self):
        self.request("shutdown", None)
        self.notify("exit", None)
        self.process.wait()
        self.watchdog.cancel()

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def receive(self):
        length = 0
        while line := self.process.stdout.readline().strip():
            name, value = line.split(b":", 1)
            if name.lower() == b"content-length":
                length = int(value)
        if length == 0:
            raise SystemExit("lsp.py: the server ended or did not answer")
        message = json.loads(self.process.stdout.read(length))
        if message.get("method") == "textDocument/publishDiagnostics":
            self.diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            # A question of the server's: it gets by without an answer.
            self.send({"id": message["id"], "result": None})
        return message

    def notify(self, method, params):
        self.send({"method": method, "params": params})

    def request(self, method, params):
        self.requests += 1
        number = f"request-{self.requests}"
        self.send({"id": number, "method": method, "params": params})
        while True:
            message = self.receive()
            if message.get("id") == number:
                if "error" in message:
                    raise SystemExit(f"lsp.py: {method}: {message['error']}")
                return message["result"]

    def published(self, uri):
        """The findings about a document, as soon as there are any."""
        while not self.diagnostics.get(uri):
            self.receive()
        return self.diagnostics[uri]


def require(holds, message):
    if not holds:
        raise SystemExit(f"lsp.py: {message}")


def main(schema, command):
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        (directory / "schemas").mkdir()
        shutil.copy(schema, directory / "schemas" / "deploy.schema.json")
        document = directory / "deploy.toml"
        document.write_text(MANIFEST)
        server = Server(command, directory)
        root = directory.as_uri()
        capabilities = {
            "textDocument": {
                "hover": {"contentFormat": ["markdown"]},
                "completion": {"completionItem": {"documentationFormat": ["markdown"]}},
                "publishDiagnostics": {},
            }
        }
        server.request(
            "initialize",
            {
                "processId": None,
                "rootUri": root,
                "capabilities": capabilities,
                "workspaceFolders": [{"uri": root, "name": "test"}],
            },
        )
        server.notify("initialized", {})
        uri = document.as_uri()
        item = {"uri": uri, "languageId": "toml", "version": 1, "text": MANIFEST}
        server.notify("textDocument/didOpen", {"textDocument": item})
        lines = MANIFEST.splitlines()

        def at(text, character=1, below=0):
            return {
                "textDocument": {"uri": uri},
                "position": {"line": lines.index(text) + below, "character": character},
            }

        # Until its findings say that it has read the document, the server has no answers.
        findings = server.published(uri)
        line = lines.index('stat = "running"')
        marked = [finding for finding in findings if finding["range"]["start"]["line"] == line]
        require(marked, f"the unknown key is not marked: {findings}")
        hover = json.dumps(server.request("textDocument/hover", at('host = "192.168.0.69"')))
        require("a host name, an IP address or an alias" in hover, f"hovering over host says {hover}")

        answer = server.request("textDocument/completion", at('host = "192.168.0.69"', 0, below=1))
        items = answer if isinstance(answer, list) else answer["items"]
        labels = {item["label"] for item in items}
        require({"serial", "firmware", "identity"} <= labels, f"[vpu] completes {sorted(labels)}")
        serial = json.dumps(next(item for item in items if item["label"] == "serial"))
        require("Any other box is refused" in serial, f"serial is explained as {serial}")

        server.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
