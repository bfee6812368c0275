#!/usr/bin/env python3
"""Asks a TOML language server about a manifest, as an editor does.

Usage: lsp.py SCHEMA SERVER [ARGS...]. Fails unless keys of each kind are completed, explained on hovering with their defaults
and examples, and marked when they are unknown or have a wrong value.
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

[[directories]]
path = "~/share/logs"
mode = 775

[[volumes]]
name = "share"
path = "~/share"
replace = "yes"

[[images]]
name = "palletizer:1.0"
rootfs = { file = "root.tar", env = { PORT = "8000" } }

[[transfers]]
src = "config/"
dst = "~/share/config/"
delete = true
exclude = ["*.tmp"]

[[compose]]
name = "palletizer"
stat = "running"
state = "running"
autostart = true
health = { timeout = "60 parsecs" }

[[compose]]
name = "other"
state = "up"

[autostart]
disable = ["old-demo"]

[logs]
keep = { size = "500 MB", age = "ninety days" }
"""

# One key of each kind: the line that has it, and what hovering over it has to say.
EXPLAINED = {
    "text": ('host = "192.168.0.69"', ["a host name, an IP address or an alias", "192.168.0.69", "Example"]),
    "path on this machine": ('src = "config/"', ["directory", "Example: `config/`"]),
    "path on the VPU": ('path = "~/share/logs"', ["missing parents are created", "Example: `~/share/logs`"]),
    "permissions": ("mode = 775", ["octal digits", "Default: `0755`", "Example: `0775`"]),
    "boolean": ("delete = true", ["Mirrors `src`", "Default: `false`"]),
    "optional boolean": ("autostart = true", ["starts when the VPU boots", "Default: unchanged"]),
    "list of texts": ('exclude = ["*.tmp"]', ["globs", "Default: empty", '["*.tmp"]']),
    "choice": ('state = "running"', ["state", "Default: `running`"]),
    "array of tables": ("[[compose]]", ["compose project"]),
    "table": ("[autostart]", ["autostart of services that are not declared here"]),
}
# Within a line: a table in braces has keys of its own.
EXPLAINED_WITHIN = {
    "table in braces": ("rootfs = {", "file", ["tar file", "Example: `dist/root.tar`"]),
    "duration": ("health = {", "timeout", ["a number with a unit", "Default: `60s`", "Example: `2min`"]),
    "size": ("keep = {", "size", ["a number with a unit", "Example: `500 MB`"]),
}
# What is wrong: an unknown key, and a wrong value of each kind that has rules.
MARKED = [
    'stat = "running"',
    "mode = 775",
    'replace = "yes"',
    'state = "up"',
]
# What completes: a line, what stands there while it is typed, and some of the words that are offered at its end.
COMPLETED = {
    "choice": ('state = "up"', "state = ", {"running", "stopped", "absent"}),
    "boolean": ("delete = true", "delete = ", {"true", "false"}),
}


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
        marked = {finding["range"]["start"]["line"] for finding in findings}
        for text in MARKED:
            require(lines.index(text) in marked, f"not marked: {text}: {findings}")

        def explained(kind, place, wanted):
            hover = server.request("textDocument/hover", place)
            said = " ".join(hover["contents"]["value"].split()) if hover else ""
            for words in wanted:
                require(words in said, f"{kind}: hovering does not say {words}: {said}")

        for kind, (text, wanted) in EXPLAINED.items():
            explained(kind, at(text, 3 if text.startswith("[") else 1), wanted)
        for kind, (start, key, wanted) in EXPLAINED_WITHIN.items():
            text = next(line for line in lines if line.startswith(start))
            explained(kind, at(text, text.index(f" {key} =") + 2), wanted)

        for version, (kind, (text, typed, wanted)) in enumerate(COMPLETED.items(), 2):
            now = {"uri": uri, "version": version}
            changed = [{"text": MANIFEST.replace(f"\n{text}\n", f"\n{typed}\n")}]
            server.notify("textDocument/didChange", {"textDocument": now, "contentChanges": changed})
            answer = server.request("textDocument/completion", at(text, len(typed)))
            items = (answer if isinstance(answer, list) else answer["items"]) if answer else []
            labels = {item["label"].strip('"') for item in items}
            require(wanted <= labels, f"{kind} completes {sorted(labels)}")
        whole = {"textDocument": {"uri": uri, "version": 9}, "contentChanges": [{"text": MANIFEST}]}
        server.notify("textDocument/didChange", whole)

        answer = server.request("textDocument/completion", at('host = "192.168.0.69"', 0, below=1))
        items = answer if isinstance(answer, list) else answer["items"]
        labels = {item["label"] for item in items}
        require({"serial", "firmware", "identity"} <= labels, f"[vpu] completes {sorted(labels)}")
        serial = json.dumps(next(item for item in items if item["label"] == "serial"))
        require("any other VPU is rejected" in serial, f"serial is explained as {serial}")

        server.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
