#!/usr/bin/env python3
"""Stands in for the JSON configuration API of an O3R VPU: XML-RPC over HTTP, Python's standard library only.

In the twin a systemd unit runs it on port 80. State, as on the device:

* the *current* configuration is volatile: a reboot loses what was only `set`;
* the *init* configuration is what the last `saveInit` stored; it is merged into the current one at boot;
* a few settings (PERSISTENT) are stored by `set` itself, the ssh keys among them.

Faults on request, for tests: if the file /run/o3r-api/inject exists, its first line that fits the call decides.
A line is `[METHOD:] ACTION`, where ACTION is one of

    off                 nothing
    slow SECONDS        answer properly, but late
    fault CODE [TEXT]   an XML-RPC fault
    garbage             200 and a body that is not XML
    http STATUS         that HTTP status and a short plain body
    truncate            half of the proper answer, then the connection is closed
    close               no answer at all: the connection is closed

for example `saveInit: fault 104014`. Lines without METHOD fit every call.
"""

import argparse
import copy
import json
import os
import pwd
import subprocess
import threading
import time
import xmlrpc.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.sax.saxutils import escape

RPC_PATH = "/api/rpc/v1/com.ifm.efector/"
BODY_LIMIT = 1 << 20

# Stored by `set` itself. The ssh keys are documented so; for the others it is an assumption.
PERSISTENT = ["/device/network/authorized_keys", "/device/network/interfaces", "/device/docker"]

JSON_SYNTAX = 104010
SCHEMA_VIOLATION = 104011
INVALID_PATH = 104012
INVALID_CONFIGURATION = 104014
METHOD_UNKNOWN = -506  # as xmlrpc-c numbers its own faults
PARSE_ERROR = -503
INTERNAL_ERROR = -500


class Fault(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code, self.text = code, text


# --- JSON trees ---------------------------------------------------------------------------------


def merge(into, fragment):
    """Merges fragment into a tree in place: objects by key, anything else is replaced."""
    for key, value in fragment.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)
    return into


def pointer_keys(pointer):
    if pointer == "":
        return []
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise Fault(INVALID_PATH, f"JSON Path not valid: {pointer}")
    return [key.replace("~1", "/").replace("~0", "~") for key in pointer[1:].split("/")]


def select(tree, pointers):
    """The part of a tree that the pointers name, nested at its full path; no pointers mean all of it."""
    if not pointers:
        return copy.deepcopy(tree)
    selected = {}
    for pointer in pointers:
        keys, value = pointer_keys(pointer), tree
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                raise Fault(INVALID_PATH, f"JSON Path not valid: {pointer}")
            value = value[key]
        for key in reversed(keys):
            value = {key: value}
        merge(selected, value)
    return selected


def read_json(path, default):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return default


def write_atomically(path, text, mode=0o644, owner=None):
    temporary = path.with_name(path.name + ".new")
    with open(temporary, "w", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(text)
        file.flush()
        if owner:
            os.chown(file.fileno(), *owner)
        os.fsync(file.fileno())
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


# --- the schema: types, defaults, and what is read-only ------------------------------------------


def leaf(kind, default, **more):
    return {"type": kind, "default": default, **more}


def fixed(kind, value):
    return leaf(kind, value, readOnly=True)


def obj(**properties):
    return {"type": "object", "additionalProperties": False, "properties": properties}


def interface(address, mac):
    return obj(
        mac=fixed("string", mac),
        ipv4=obj(
            address=leaf("string", address),
            mask=leaf("integer", 24, minimum=0, maximum=32),
            gateway=leaf("string", "192.168.0.201"),
            dhcp=leaf("boolean", False),
        ),
    )


def port(number, kind):
    return obj(
        info=obj(name=leaf("string", ""), features=obj(type=fixed("string", kind))),
        data=obj(pcicTCPPort=leaf("integer", 50010 + number, minimum=1024, maximum=65535)),
        state=leaf("string", "RUN", enum=["CONF", "IDLE", "RUN"]),
    )


def schema(facts):
    # The clock is an integer before firmware 1.1.30 and a string from then on.
    version = tuple(int(part) for part in facts["firmware"].replace("-", ".").split(".")[:3])
    clock = fixed("string", "") if version >= (1, 1, 30) else fixed("integer", 0)
    registries = leaf("array", [], items={"type": "string"}, maxItems=3)
    return obj(
        device=obj(
            info=obj(
                name=leaf("string", "", maxLength=64),
                description=leaf("string", ""),
                device=fixed("string", "0301"),
                articleNumber=fixed("string", facts["articleNumber"]),
                partNumber=fixed("string", facts["partNumber"]),
                productionState=fixed("string", "AA"),
                serialNumber=fixed("string", facts["serial"]),
                vendor=fixed("string", "0001"),
            ),
            swVersion=obj(firmware=fixed("string", facts["firmware"])),
            network=obj(
                authorized_keys=leaf("string", ""),
                interfaces=obj(
                    eth0=interface("192.168.0.69", "00:02:01:69:00:01"),
                    eth1=interface("192.168.1.69", "00:02:01:69:00:02"),
                ),
            ),
            clock=obj(currentTime=clock, sntp=obj(active=leaf("boolean", True), availableServers=leaf("array", []))),
            docker=obj(**{"insecure-registries": registries}),
            status=fixed("string", "OPERATE"),
        ),
        ports=obj(port0=port(0, "2D"), port2=port(2, "3D"), port6=port(6, "IMU")),
    )


def defaults(node):
    if "properties" in node:
        return {key: defaults(child) for key, child in node["properties"].items()}
    return copy.deepcopy(node["default"])


def writable(tree, node):
    """A tree without its read-only values."""
    kept = {}
    for key, value in tree.items():
        child = node["properties"][key]
        if "properties" in child:
            value = writable(value, child)
            if value:
                kept[key] = value
        elif not child.get("readOnly"):
            kept[key] = value
    return kept


def violation(value, node, path=""):
    """What is wrong with a value according to its schema, or None."""
    kind = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}[node["type"]]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return f"{path or '/'}: {node['type']} expected"
    if kind is dict:
        for key, child in value.items():
            if key not in node["properties"]:
                return f"{path}/{key}: unknown"
            wrong = violation(child, node["properties"][key], f"{path}/{key}")
            if wrong:
                return wrong
    if kind is list:
        if len(value) > node.get("maxItems", len(value)):
            return f"{path}: at most {node['maxItems']} entries"
        if "items" in node:
            for index, item in enumerate(value):
                wrong = violation(item, node["items"], f"{path}/{index}")
                if wrong:
                    return wrong
    if "enum" in node and value not in node["enum"]:
        return f"{path}: one of {', '.join(node['enum'])} expected"
    if kind is int and not node.get("minimum", value) <= value <= node.get("maximum", value):
        return f"{path}: out of range"
    if kind is str and len(value) > node.get("maxLength", len(value)):
        return f"{path}: longer than {node['maxLength']}"
    return None


# --- the device ---------------------------------------------------------------------------------


class Device:
    """The configuration and the methods of the API. Every public method here is one of the API."""

    def __init__(self, facts, state, home):
        self._schema = schema(facts)
        self._persistent_file = state / "persistent.json"
        self._init_file = state / "init.json"
        self._keys_file = home / ".ssh" / "authorized_keys"
        self._lock = threading.Lock()
        self._current = defaults(self._schema)
        merge(self._current, read_json(self._init_file, {}))
        merge(self._current, read_json(self._persistent_file, {}))
        if not self._keys_file.exists():
            self._write_keys()

    def get(self, pointers=()):
        with self._lock:
            clock = self._current["device"]["clock"]
            clock["currentTime"] = type(clock["currentTime"])(time.time_ns())
            return json.dumps(select(self._current, pointers))

    def set(self, fragment):
        try:
            fragment = json.loads(fragment)
        except (TypeError, ValueError) as error:
            raise Fault(JSON_SYNTAX, f"JSON syntax error: {error}") from error
        with self._lock:
            wrong = violation(fragment, self._schema)
            if wrong:
                raise Fault(SCHEMA_VIOLATION, f"JSON schema violation: {wrong}")
            self._replace_current(merge(copy.deepcopy(self._current), writable(fragment, self._schema)))
        return ""

    def reset(self, pointer):
        with self._lock:
            factory = select(defaults(self._schema), [pointer])
            self._replace_current(merge(copy.deepcopy(self._current), writable(factory, self._schema)))
        return ""

    def getInit(self):
        with self._lock:
            return json.dumps(read_json(self._init_file, {}))

    def saveInit(self, pointers=()):
        with self._lock:
            saved = writable(select(self._current, pointers), self._schema)
            write_atomically(self._init_file, json.dumps(saved))
        return ""

    def getSchema(self):
        return json.dumps(self._schema)

    def reboot(self):
        # Later, so that the answer is out first.
        threading.Timer(0.3, subprocess.run, [["systemctl", "reboot"]]).start()
        return ""

    def _replace_current(self, wanted):
        tcp_ports = [one["data"]["pcicTCPPort"] for one in wanted["ports"].values()]
        if len(set(tcp_ports)) < len(tcp_ports):
            raise Fault(INVALID_CONFIGURATION, "Invalid device configuration")
        keys_differ = wanted["device"]["network"] != self._current["device"]["network"]
        self._current = wanted
        write_atomically(self._persistent_file, json.dumps(select(wanted, PERSISTENT)))
        if keys_differ:
            self._write_keys()

    def _write_keys(self):
        account = pwd.getpwnam("oem")
        owner = (account.pw_uid, account.pw_gid)
        self._keys_file.parent.mkdir(mode=0o700, exist_ok=True)
        os.chown(self._keys_file.parent, *owner)
        keys = self._current["device"]["network"]["authorized_keys"]
        write_atomically(self._keys_file, keys.rstrip("\n") + "\n", 0o600, owner)


METHODS = [name for name in vars(Device) if not name.startswith("_")]


# --- XML-RPC over HTTP --------------------------------------------------------------------------


def envelope(content):
    return f"<?xml version='1.0'?><methodResponse>{content}</methodResponse>".encode()


def answer(text):
    return envelope(f"<params><param><value><string>{escape(text)}</string></value></param></params>")


def fault(code, text):
    return envelope(
        "<fault><value><struct>"
        f"<member><name>faultCode</name><value><int>{code}</int></value></member>"
        f"<member><name>faultString</name><value><string>{escape(text)}</string></value></member>"
        "</struct></value></fault>"
    )


def call(device, method, parameters):
    if method not in METHODS:
        return fault(METHOD_UNKNOWN, f"Method '{method}' not defined")
    try:
        return answer(getattr(device, method)(*parameters))
    except Fault as error:
        return fault(error.code, error.text)
    except TypeError as error:
        return fault(INTERNAL_ERROR, f"wrong parameters for {method}: {error}")


def injected(file, method):
    """The words of the injected action for a method."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return ["off"]
    for line in lines:
        only, colon, action = line.partition(":")
        if not colon:
            only, action = method, line
        if only.strip() == method and action.split():
            return action.split()
    return ["off"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "o3r-twin", ""
    timeout = 60  # of a silent connection

    def do_POST(self):
        body = self.read_body()
        if body is None:
            return
        try:
            parameters, method = xmlrpc.client.loads(body)
        except Exception as error:  # expat, base64, dates: many kinds
            return self.reply(200, "text/xml", fault(PARSE_ERROR, f"cannot parse the call: {error}"))
        action, *words = injected(self.server.inject, method)
        if action == "close":
            self.close_connection = True
            return
        if action == "garbage":
            return self.reply(200, "text/xml", b"\x00\xff not XML <<<")
        if action == "http":
            return self.refuse(int(words[0]))
        if action == "fault":
            content = fault(int(words[0]), " ".join(words[1:]) or "injected fault")
            return self.reply(200, "text/xml", content)
        if action == "slow":
            time.sleep(float(words[0]))
        content = call(self.server.device, method, parameters)
        self.reply(200, "text/xml", content, sent=len(content) // 2 if action == "truncate" else None)

    def read_body(self):
        if self.path != RPC_PATH:
            return self.refuse(404)
        if self.headers.get_content_type() != "text/xml":
            return self.refuse(400)
        length = self.headers.get("Content-Length")
        if length is None:
            return self.refuse(411)
        if not length.isdigit():
            return self.refuse(400)
        if int(length) > BODY_LIMIT:
            return self.refuse(413)
        return self.rfile.read(int(length))

    def do_GET(self):
        self.refuse(405 if self.path == RPC_PATH else 404)

    do_HEAD = do_PUT = do_DELETE = do_GET

    def refuse(self, status):
        self.close_connection = True  # what was not read of the request must not become the next one
        reason = self.responses.get(status, ("error",))[0]
        self.reply(status, "text/plain", f"{status} {reason}\n".encode())

    def reply(self, status, content_type, content, sent=None):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        if status == 405:
            self.send_header("Allow", "POST")
        if sent is not None:
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:sent])

    def log_message(self, format, *arguments):
        print(f"{self.client_address[0]} {format % arguments}", flush=True)


def write_daemon_json(path, state):
    persistent = read_json(state / "persistent.json", {})
    registries = persistent.get("device", {}).get("docker", {}).get("insecure-registries", [])
    daemon = {"log-driver": "journald", "insecure-registries": registries}
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        # With cgroups v1, containers land beside the twin on the host, and outlive it there, unless told otherwise.
        lines = Path("/proc/1/cgroup").read_text().splitlines()
        twin = next(line.split(":")[2] for line in lines if line.split(":")[1] == "name=systemd")
        daemon["cgroup-parent"] = twin.removesuffix("/init.scope") + "/docker"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, json.dumps(daemon))


def main():
    parser = argparse.ArgumentParser(description="stand-in of an O3R VPU's JSON configuration API")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--facts", type=Path, nargs="*", help="JSON files: firmware, serial, articleNumber, partNumber",
                        default=[Path("/etc/o3r-twin/device.json"), Path("/etc/o3r-twin/serial.json")])
    parser.add_argument("--state", type=Path, default=Path("/var/lib/o3r-api"))
    parser.add_argument("--home", type=Path, default=Path("/home/oem"))
    parser.add_argument("--inject", type=Path, default=Path("/run/o3r-api/inject"))
    parser.add_argument("--write-daemon-json", type=Path, metavar="FILE", help="only write dockerd's configuration")
    options = parser.parse_args()

    if options.write_daemon_json:
        return write_daemon_json(options.write_daemon_json, options.state)
    facts = {}
    for path in options.facts:
        facts.update(json.loads(path.read_text()))
    server = ThreadingHTTPServer(("", options.port), Handler)
    server.daemon_threads = True
    server.device = Device(facts, options.state, options.home)
    server.inject = options.inject
    server.serve_forever()


if __name__ == "__main__":
    main()
