#!/usr/bin/env python3
"""Tests the stand-in of the JSON configuration API in a running twin: python3 test_api.py NAME [unittest options].

The wire format is the one recorded from ifm's own client. Tests with that client (ifm3dpy) are skipped where it is not installed.
The twin is rebooted and its configuration changed.
"""

import http.client
import json
import subprocess
import sys
import time
import unittest
import xmlrpc.client
from pathlib import Path

try:
    from ifm3dpy.device import Error, O3R
except ImportError:
    O3R = None

TWIN_SH = Path(__file__).with_name("twin.sh")
RPC_PATH = "/api/rpc/v1/com.ifm.efector/"
NAME = ""
TWIN = {}

CALL = (
    '<?xml version="1.0" encoding="UTF-8"?><methodCall><methodName>get</methodName><params><param><value><array><data>'
    "<value><string>/device/info/name</string></value></data></array></value></param></params></methodCall>"
)
ANSWER = (
    "<?xml version='1.0'?><methodResponse><params><param><value><string>"
    '{"device": {"info": {"name": ""}}}</string></value></param></params></methodResponse>'
)


def twin(*words, **options):
    return subprocess.run([TWIN_SH, *words], check=True, capture_output=True, text=True, **options).stdout


def root(script, **options):
    return twin("root", NAME, "sh", "-c", script, **options)


def load_twin():
    for line in twin("env", NAME).splitlines():
        key, _, value = line.partition("=")
        TWIN[key] = value.strip("'")


def post(body, path=RPC_PATH, method="POST", headers=None, timeout=10):
    connection = http.client.HTTPConnection(TWIN["ADDRESS"], 80, timeout=timeout)
    connection.request(method, path, body, {"Content-Type": "text/xml"} if headers is None else headers)
    response = connection.getresponse()
    return response.status, response.read().decode()


def rpc():
    return xmlrpc.client.ServerProxy(f"http://{TWIN['ADDRESS']}{RPC_PATH}")


def get(*pointers):
    return json.loads(rpc().get(list(pointers)))


def set_name(name):
    rpc().set(json.dumps({"device": {"info": {"name": name}}}))


def name():
    return get("/device/info/name")["device"]["info"]["name"]


def boot_id():
    return root("cat /proc/sys/kernel/random/boot_id")


def reboot(how):
    """Reboots by the given call and waits until the twin is back."""
    before = boot_id()
    how()
    end = time.monotonic() + 60
    while True:
        time.sleep(0.3)
        try:
            if boot_id() not in ("", before):
                break
        except subprocess.CalledProcessError:
            pass  # it is down just now
        if time.monotonic() > end:
            raise TimeoutError("the twin did not reboot")
    twin("up", NAME)


class ApiTest(unittest.TestCase):
    def setUp(self):
        rpc().reset("/device/info")
        self.addCleanup(root, "rm -f /run/o3r-api/inject")

    def assertFault(self, code, function, *arguments):
        with self.assertRaises(xmlrpc.client.Fault) as caught:
            function(*arguments)
        self.assertEqual(caught.exception.faultCode, code)
        return caught.exception.faultString


class Wire(ApiTest):
    def test_get_is_answered_byte_for_byte(self):
        self.assertEqual(post(CALL), (200, ANSWER))

    def test_a_fault_is_an_ordinary_fault_struct(self):
        status, body = post(CALL.replace("/device/info/name", "/a/&lt;b&gt;"))
        self.assertEqual(status, 200)
        self.assertEqual(
            body,
            "<?xml version='1.0'?><methodResponse><fault><value><struct>"
            "<member><name>faultCode</name><value><int>104012</int></value></member>"
            "<member><name>faultString</name><value><string>JSON Path not valid: /a/&lt;b&gt;</string></value></member>"
            "</struct></value></fault></methodResponse>",
        )

    def test_untyped_values_are_strings(self):
        call = CALL.replace("<string>", "").replace("</string>", "")
        self.assertEqual(post(call), (200, ANSWER))

    def test_what_is_no_call_is_a_fault(self):
        status, body = post("no XML")
        self.assertEqual(status, 200)
        with self.assertRaises(xmlrpc.client.Fault):
            xmlrpc.client.loads(body)

    def test_unknown_method(self):
        self.assertFault(-506, rpc().getSWVersion)

    def test_wrong_number_of_parameters(self):
        self.assertFault(-500, rpc().set)

    def test_http_errors(self):
        self.assertEqual(post(None, method="GET", headers={})[0], 405)
        self.assertEqual(post(None, method="GET", path="/", headers={})[0], 404)
        self.assertEqual(post(CALL, path=RPC_PATH.rstrip("/"))[0], 404)
        self.assertEqual(post(CALL, headers={"Content-Type": "application/json"})[0], 400)

    def test_a_connection_serves_several_calls(self):
        connection = http.client.HTTPConnection(TWIN["ADDRESS"], 80, timeout=10)
        for _ in range(3):
            connection.request("POST", RPC_PATH, CALL, {"Content-Type": "text/xml; charset=utf-8"})
            self.assertEqual(connection.getresponse().read().decode(), ANSWER)


class Methods(ApiTest):
    def test_get_nests_at_the_full_path(self):
        self.assertEqual(
            get("/device/info/serialNumber", "/device/status"),
            {"device": {"info": {"serialNumber": TWIN["SERIAL"]}, "status": "OPERATE"}},
        )

    def test_get_of_nothing_or_the_empty_pointer_is_everything(self):
        self.assertEqual(set(get()), {"device", "ports"})
        self.assertEqual(set(get("")), {"device", "ports"})

    def test_the_firmware_is_that_of_the_profile(self):
        firmware = get("/device/swVersion/firmware")["device"]["swVersion"]["firmware"]
        self.assertTrue(firmware.startswith(TWIN["PROFILE"].removeprefix("fw")), firmware)

    def test_the_clock_is_a_string_of_nanoseconds(self):
        clock = get("/device/clock/currentTime")["device"]["clock"]["currentTime"]
        self.assertIsInstance(clock, str)
        self.assertAlmostEqual(int(clock) / 1e9, time.time(), delta=10)

    def test_set_merges(self):
        before = get("/device/info")["device"]["info"]
        set_name('gabel <1> "ü" \n')
        self.assertEqual(get("/device/info")["device"]["info"], {**before, "name": 'gabel <1> "ü" \n'})

    def test_set_leaves_read_only_values(self):
        everything = get()
        everything["device"]["info"]["serialNumber"] = "1"
        rpc().set(json.dumps(everything))
        self.assertEqual(get("/device/info/serialNumber")["device"]["info"]["serialNumber"], TWIN["SERIAL"])

    def test_reset_restores_the_default(self):
        set_name("x")
        rpc().reset("/device/info/name")
        self.assertEqual(name(), "")

    def test_schema(self):
        schema = json.loads(rpc().getSchema())
        self.assertEqual(schema["properties"]["device"]["properties"]["info"]["properties"]["name"]["type"], "string")

    def test_faults(self):
        self.assertFault(104010, rpc().set, '{"device": ')
        self.assertFault(104011, rpc().set, '{"device": {"info": {"name": 5}}}')
        self.assertFault(104011, rpc().set, '{"device": {"info": {"nome": "x"}}}')
        self.assertFault(104011, rpc().set, "[]")
        self.assertFault(104011, rpc().set, '{"device": {"docker": {"insecure-registries": ["a", "b", "c", "d"]}}}')
        self.assertEqual(self.assertFault(104012, rpc().get, ["/device/nope"]), "JSON Path not valid: /device/nope")
        self.assertFault(104012, rpc().get, ["device"])
        self.assertFault(104012, rpc().saveInit, ["/device/nope"])
        self.assertFault(104012, rpc().reset, "/device/nope")
        self.assertFault(104014, rpc().set, '{"ports": {"port0": {"data": {"pcicTCPPort": 50012}}}}')
        self.assertEqual(name(), "")

    def test_the_last_save_replaces_earlier_ones(self):
        set_name("x")
        rpc().saveInit(["/device/info/name"])
        rpc().saveInit(["/ports/port2/state"])
        self.assertEqual(json.loads(rpc().getInit()), {"ports": {"port2": {"state": "RUN"}}})

    def test_save_without_pointers_saves_everything_writable(self):
        set_name("x")
        rpc().saveInit()
        saved = json.loads(rpc().getInit())
        self.assertEqual(saved["device"]["info"], {"name": "x", "description": ""})
        self.assertIn("port2", saved["ports"])

    def test_authorized_keys_reach_sshd(self):
        before = get("/device/network/authorized_keys")["device"]["network"]["authorized_keys"]
        keys = before.rstrip("\n") + "\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE test"
        self.addCleanup(rpc().set, json.dumps({"device": {"network": {"authorized_keys": before}}}))
        rpc().set(json.dumps({"device": {"network": {"authorized_keys": keys}}}))
        self.assertEqual(twin("ssh", NAME, "cat", ".ssh/authorized_keys"), keys + "\n")


class Boot(ApiTest):
    def test_reboot_loses_what_was_not_saved(self):
        set_name("saved")
        rpc().saveInit(["/device/info/name"])
        set_name("not saved")
        rpc().set('{"device": {"docker": {"insecure-registries": ["10.0.0.1:5000"]}}}')
        reboot(rpc().reboot)
        self.assertEqual(name(), "saved")
        self.assertIn("10.0.0.1:5000", twin("ssh", NAME, "docker info --format '{{json .RegistryConfig}}'"))

        rpc().saveInit(["/ports/port2/state"])
        reboot(rpc().reboot)
        self.assertEqual(name(), "")

    def test_saved_state_survives_a_power_cut(self):
        set_name("saved")
        rpc().saveInit(["/device/info/name"])
        twin("power-cut", NAME)
        self.assertEqual(name(), "saved")


class Injected(ApiTest):
    def inject(self, text):
        root("cat >/run/o3r-api/inject", input=text)

    def test_each_action(self):
        self.inject("fault 104014 some text\n")
        self.assertEqual(self.assertFault(104014, rpc().getInit), "some text")
        self.inject("http 500\n")
        self.assertEqual(post(CALL)[0], 500)
        self.inject("garbage\n")
        with self.assertRaises(Exception):
            rpc().getInit()
        self.inject("truncate\n")
        with self.assertRaises(http.client.IncompleteRead):
            post(CALL)
        self.inject("close\n")
        with self.assertRaises(http.client.RemoteDisconnected):
            post(CALL)
        self.inject("slow 1\n")
        with self.assertRaises(TimeoutError):
            post(CALL, timeout=0.5)
        self.inject("off\n")
        self.assertEqual(post(CALL), (200, ANSWER))

    def test_only_one_method(self):
        self.inject("saveInit: fault 104014\n")
        self.assertEqual(post(CALL), (200, ANSWER))
        self.assertFault(104014, rpc().saveInit)


@unittest.skipUnless(O3R, "ifm3dpy is not installed")
class RealClient(ApiTest):
    def setUp(self):
        super().setUp()
        self.o3r = O3R(TWIN["ADDRESS"], 80)

    def test_get_set_save_reboot(self):
        self.assertEqual(self.o3r.get(["/device/info/name"]), {"device": {"info": {"name": ""}}})
        self.o3r.set({"device": {"info": {"name": "agv-17"}}})
        self.o3r.save_init(["/device/info/name"])
        self.assertEqual(self.o3r.get_init(), {"device": {"info": {"name": "agv-17"}}})
        reboot(self.o3r.reboot)
        o3r = O3R(TWIN["ADDRESS"], 80)
        self.assertEqual(o3r.get(["/device/info/name"]), {"device": {"info": {"name": "agv-17"}}})
        o3r.reset("/device/info/name")
        self.assertEqual(o3r.get(["/device/info/name"]), {"device": {"info": {"name": ""}}})

    def test_everything(self):
        self.assertEqual(set(self.o3r.get()), {"device", "ports"})
        self.assertEqual([port.port for port in self.o3r.ports()], ["port0", "port2", "port6"])
        self.o3r.get_schema()
        self.o3r.save_init()

    def test_faults(self):
        with self.assertRaises(Error) as caught:
            self.o3r.get(["/device/nope"])
        self.assertEqual(caught.exception.code, 104012)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__.splitlines()[0])
    NAME = sys.argv.pop(1)
    load_twin()
    unittest.main(verbosity=2, warnings="ignore")  # of connections that are left to be closed with the process
