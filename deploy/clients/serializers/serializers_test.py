"""Confluent's serializers for Avro, Protobuf and JSON Schema, as they are, and klamm's doors.

What the serializers write is read through the v2 API, statelessly, over Server-Sent Events
and by a webhook behind a pipe; what is written through v2 and v3 is read by the
deserializers. All of it for values that do not survive a naive conversion.

KLAMM_URL is klamm, KLAMM_KAFKA its brokers, and REGISTRY_URL the schema registry that both
klamm and the clients use: klamm's own, or a foreign one.
"""

import datetime
import decimal
import http.server
import json
import os
import threading
import time
import unittest
import uuid

import requests
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, timestamp_pb2, wrappers_pb2, duration_pb2, struct_pb2  # noqa: F401

KLAMM = os.environ["KLAMM_URL"]
KAFKA = os.environ["KLAMM_KAFKA"]
REGISTRY = os.environ["REGISTRY_URL"]
WAIT = 60
ADMIN = AdminClient({"bootstrap.servers": KAFKA})
BIG = 2**53 + 1

# --- what is written


def at(ms):
    return datetime.datetime.fromtimestamp(ms // 1000, datetime.timezone.utc).replace(microsecond=ms % 1000 * 1000)


AVRO = json.dumps({
    "type": "record", "name": "Hard", "namespace": "h", "fields": [
        {"name": "l", "type": "long"},
        {"name": "by", "type": "bytes"},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["UP", "DOWN"]}},
        {"name": "m", "type": {"type": "map", "values": ["null", "long", "string"]}},
        {"name": "dec", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4}},
        {"name": "u", "type": ["null", "int", "string", {"type": "record", "name": "In", "fields": [{"name": "d", "type": "double"}]},
                               {"type": "array", "items": ["null", "In"]}]},
        {"name": "fx", "type": {"type": "fixed", "name": "F", "size": 2}},
        {"name": "next", "type": ["null", "Hard"]},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    ]})
LOW = {"l": -2**63, "by": b"", "e": "DOWN", "m": {}, "dec": decimal.Decimal("-0.0001"), "u": [None, {"d": 0.5}], "fx": b"\x00\xff", "next": None,
       "ts": at(0), "day": datetime.date(1969, 12, 31)}
TOP = {"l": BIG, "by": bytes(range(256)), "e": "UP", "m": {"a": BIG, "b": "x\u2028\U0001f600", "c": None}, "dec": decimal.Decimal("1234567890123456.7890"),
       "u": {"d": 1e-7}, "fx": b"ab", "next": LOW, "ts": at(1700000000123), "day": datetime.date(2026, 11, 21)}


def units(number, scale):
    """A decimal as Avro's JSON has it: a character for each byte of the unscaled value."""
    n = int(number.scaleb(scale))
    return n.to_bytes((n + (n < 0)).bit_length() // 8 + 1, "big", signed=True).decode("latin-1")


def avro_json(v, tagged):
    """A value as v2 shows it (tagged), or the other doors."""
    def tag(name, x):
        return {name: x} if tagged and x is not None else x

    def inner(x):
        return None if x is None else {"d": x["d"]}

    u = v["u"]
    if isinstance(u, list):
        u = tag("array", [tag("h.In", inner(x)) for x in u])
    elif isinstance(u, dict):
        u = tag("h.In", inner(u))
    return {
        "l": v["l"], "by": v["by"].decode("latin-1"), "e": v["e"],
        "m": {k: tag("long" if isinstance(x, int) else "string", x) for k, x in v["m"].items()},
        "dec": units(v["dec"], 4), "u": u, "fx": v["fx"].decode("latin-1"), "next": tag("h.Hard", v["next"] and avro_json(v["next"], tagged)),
        "ts": round(v["ts"].timestamp() * 1000), "day": (v["day"] - datetime.date(1970, 1, 1)).days,
    }


JSON_SCHEMA = json.dumps({
    "$schema": "http://json-schema.org/draft-07/schema#", "title": "Hard", "type": "object",
    "properties": {"n": {"type": "integer"}, "x": {"type": "number"}, "s": {"type": "string"}, "next": {"oneOf": [{"type": "null"}, {"$ref": "#"}]},
                   "m": {"type": "object", "additionalProperties": {"type": ["integer", "null"]}}},
    "required": ["n"], "additionalProperties": False})
DOCUMENT = {"n": BIG, "x": 1e-7, "s": "x\u2028\U0001f600\u0000", "next": {"n": -2**63, "next": None}, "m": {"a": None, "b": 2**63 - 1}}

PROTO = """syntax = "proto3";
package h;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
message First { int32 unused = 1; }
message Hard {
  int64 l = 1;
  uint64 u = 2;
  bytes by = 3;
  E e = 4;
  map<string, int64> m = 5;
  oneof o { string s = 6; Inner in = 7; }
  Hard next = 8;
  repeated double ds = 9;
  google.protobuf.Timestamp ts = 10;
  google.protobuf.Duration du = 11;
  google.protobuf.Int64Value w = 12;
  google.protobuf.Struct st = 13;
  optional int32 maybe = 14;
  string snake_case = 15;
  message Inner { float f = 1; }
  enum E { NONE = 0; UP = 1; }
}
"""


def proto_class():
    """h.Hard of PROTO, made without a compiler. It is the second message of its file."""
    f = descriptor_pb2.FileDescriptorProto(name="h/hard.proto", package="h", syntax="proto3", dependency=[
        f"google/protobuf/{n}.proto" for n in ("timestamp", "duration", "wrappers", "struct")])
    first = f.message_type.add(name="First")
    first.field.add(name="unused", json_name="unused", number=1, type=5, label=1)
    m = f.message_type.add(name="Hard")
    inner = m.nested_type.add(name="Inner")
    inner.field.add(name="f", json_name="f", number=1, type=2, label=1)
    entry = m.nested_type.add(name="MEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", json_name="key", number=1, type=9, label=1)
    entry.field.add(name="value", json_name="value", number=2, type=3, label=1)
    e = m.enum_type.add(name="E")
    e.value.add(name="NONE", number=0)
    e.value.add(name="UP", number=1)
    m.oneof_decl.add(name="o")
    m.oneof_decl.add(name="_maybe")
    for name, number, type_, label, type_name, more in [
        ("l", 1, 3, 1, None, {}), ("u", 2, 4, 1, None, {}), ("by", 3, 12, 1, None, {}), ("e", 4, 14, 1, ".h.Hard.E", {}),
        ("m", 5, 11, 3, ".h.Hard.MEntry", {}), ("s", 6, 9, 1, None, {"oneof_index": 0}), ("in", 7, 11, 1, ".h.Hard.Inner", {"oneof_index": 0}),
        ("next", 8, 11, 1, ".h.Hard", {}), ("ds", 9, 1, 3, None, {}), ("ts", 10, 11, 1, ".google.protobuf.Timestamp", {}),
        ("du", 11, 11, 1, ".google.protobuf.Duration", {}), ("w", 12, 11, 1, ".google.protobuf.Int64Value", {}), ("st", 13, 11, 1, ".google.protobuf.Struct", {}),
        ("maybe", 14, 5, 1, None, {"oneof_index": 1, "proto3_optional": True}), ("snake_case", 15, 9, 1, None, {"json_name": "snakeCase"}),
    ]:
        field = m.field.add(name=name, number=number, type=type_, label=label, json_name=more.pop("json_name", name), **more)
        if type_name:
            field.type_name = type_name
    pool = descriptor_pool.Default()
    pool.Add(f)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("h.Hard"))


HARD = proto_class()
MESSAGE = json_format.ParseDict({
    "l": str(-2**63), "u": str(2**64 - 1), "by": "AP+A", "e": "UP", "m": {"a": str(BIG), "": "0"}, "in": {"f": 0.25},
    "next": {"s": "x\u2028\U0001f600", "next": {"l": str(BIG)}}, "ds": [1e-7, "NaN", "-Infinity", 1], "ts": "2026-11-21T22:00:00.000000001Z", "du": "-1.500s", "w": str(BIG),
    "st": {"a": [1, None, {"b": True}]}, "maybe": 0, "snakeCase": "c"}, HARD())


def same(a, b):
    """Whether two JSON values are the same: 1 and 1.0 are, and nothing else that is written differently."""
    def plain(v):
        if isinstance(v, dict):
            return {k: plain(x) for k, x in v.items()}
        if isinstance(v, list):
            return [plain(x) for x in v]
        return int(v) if isinstance(v, float) and v.is_integer() else v

    return json.dumps(plain(a), sort_keys=True) == json.dumps(plain(b), sort_keys=True)


class Format:
    """A format: how Confluent's serializer is made, and what the doors show."""

    def __init__(self, v2, v3, schema, python, doc, plain, serializer, deserializer):
        self.v2, self.v3, self.schema, self.python, self.doc, self.plain = v2, v3, schema, python, doc, plain
        self.serializer, self.deserializer = serializer, deserializer


REG = SchemaRegistryClient({"url": REGISTRY})
FORMATS = [
    Format("avro", "AVRO", AVRO, TOP, avro_json(TOP, True), avro_json(TOP, False), lambda: AvroSerializer(REG, AVRO), lambda: AvroDeserializer(REG)),
    Format("jsonschema", "JSONSCHEMA", JSON_SCHEMA, DOCUMENT, DOCUMENT, DOCUMENT, lambda: JSONSerializer(JSON_SCHEMA, REG),
           lambda: JSONDeserializer(JSON_SCHEMA, schema_registry_client=REG)),
    Format("protobuf", "PROTOBUF", PROTO, MESSAGE, json_format.MessageToDict(MESSAGE), json_format.MessageToDict(MESSAGE, preserving_proto_field_name=True),
           lambda: ProtobufSerializer(HARD, REG, {"use.deprecated.format": False}), lambda: ProtobufDeserializer(HARD, {"use.deprecated.format": False}, REG)),
]

# --- the doors


def unique(begin):
    return f"{begin}-{uuid.uuid4().hex[:10]}"


def make_topic():
    topic = unique("serializers")
    for f in ADMIN.create_topics([NewTopic(topic, 1, 1)]).values():
        f.result(WAIT)
    return topic


def eventually(what, call):
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        got = call()
        if got:
            return got
        time.sleep(0.1)
    raise AssertionError(f"{what} never came")


def produce(topic, *values):
    failed = []
    p = Producer({"bootstrap.servers": KAFKA})
    for v in values:
        p.produce(topic, v, on_delivery=lambda err, _: failed.append(err) if err else None)
    p.flush(WAIT)
    assert not failed, failed


def consume(topic, count):
    c = Consumer({"bootstrap.servers": KAFKA, "group.id": unique("g"), "auto.offset.reset": "earliest"})
    c.subscribe([topic])
    got, end = [], time.monotonic() + WAIT
    while len(got) < count and time.monotonic() < end:
        m = c.poll(0.5)
        if m is not None and m.error() is None:
            got.append(m)
    c.close()
    assert len(got) == count, f"{len(got)} of {count} records"
    return got


def v2_type(name):
    return {"Content-Type": f"application/vnd.kafka.{name}.v2+json"}


def read_v2(topic, name):
    r = requests.post(f"{KLAMM}/consumers/{unique('g')}", headers=v2_type("json"), json={"format": name, "auto.offset.reset": "earliest"}, timeout=WAIT)
    assert r.status_code == 200, r.text
    base = r.json()["base_uri"]
    try:
        requests.post(base + "/subscription", headers=v2_type("json"), json={"topics": [topic]}, timeout=WAIT).raise_for_status()

        def records():
            r = requests.get(base + "/records?timeout=2000", headers={"Accept": f"application/vnd.kafka.{name}.v2+json"}, timeout=WAIT)
            assert r.status_code == 200, r.text
            return r.json()

        return eventually("a record on v2", records)[0]["value"]
    finally:
        requests.delete(base, headers=v2_type("json"), timeout=WAIT)


def read_stream(topic):
    with requests.get(f"{KLAMM}/stream/{topic}?from=earliest", stream=True, timeout=WAIT) as r:
        assert r.status_code == 200, r.text
        name = None
        for line in r.iter_lines():
            if line.startswith(b"event:"):
                name = line[6:].strip()
            elif line.startswith(b"data:") and name == b"record":
                return json.loads(line[5:])["value"]
    raise AssertionError("the stream has ended")


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def read_pipe(topic):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.bodies = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    name = unique("pipe")
    try:
        r = requests.post(f"{KLAMM}/klamm/v1/pipes", timeout=WAIT, json={
            "name": name, "topics": [topic], "start": "earliest", "decode": "json", "target": {"webhook": {"url": f"http://127.0.0.1:{server.server_port}/"}}})
        assert r.status_code < 300, r.text
        return json.loads(eventually("a call of the webhook", lambda: server.bodies)[0])
    finally:
        requests.delete(f"{KLAMM}/klamm/v1/pipes/{name}", timeout=WAIT)
        server.shutdown()
        server.server_close()


def cluster():
    return requests.get(KLAMM + "/v3/clusters", timeout=WAIT).json()["data"][0]["cluster_id"]


def gives_descriptors(subject):
    """Whether the registry makes a descriptor of a .proto file, which the Python deserializer asks for. Apicurio does not."""
    id = REG.get_latest_version(subject).schema_id
    return "syntax" not in requests.get(f"{REGISTRY}/schemas/ids/{id}?format=serialized", timeout=WAIT).json()["schema"]


def unframed(value, _):
    """What the deserializer does besides: the first message of its file has one zero for its indexes."""
    assert value[0] == 0 and value[5] == 0, value
    return HARD.FromString(value[6:])


class Serializers(unittest.TestCase):
    maxDiff = None

    def equal(self, got, want):
        self.assertTrue(same(got, want), f"\ngot  {json.dumps(got, sort_keys=True)}\nwant {json.dumps(want, sort_keys=True)}")

    def test_what_serializers_write_is_json_at_every_door(self):
        for f in FORMATS:
            with self.subTest(f.v2):
                topic = make_topic()
                produce(topic, f.serializer()(f.python, SerializationContext(topic, MessageField.VALUE)))
                self.equal(read_v2(topic, f.v2), f.doc)
                r = requests.get(f"{KLAMM}/topics/{topic}/records?offset=earliest", timeout=WAIT)
                self.equal(r.json()[0]["value"], f.plain)
                self.equal(read_stream(topic), f.plain)
                self.equal(read_pipe(topic), f.plain)

    def test_what_the_doors_write_is_what_deserializers_read(self):
        for f in FORMATS:
            with self.subTest(f.v2):
                topic = make_topic()
                where = SerializationContext(topic, MessageField.VALUE)
                # The serializer registers the schema first, so that the doors find it by the topic.
                produce(topic, f.serializer()(f.python, where))
                id = REG.get_latest_version(f"{topic}-value").schema_id
                r = requests.post(f"{KLAMM}/topics/{topic}", headers=v2_type(f.v2), timeout=WAIT, json={"value_schema_id": id, "records": [{"value": f.doc}]})
                if f.v2 == "protobuf":  # an id says nothing of the message; it is the first one of the file
                    self.assertNotEqual(r.status_code, 200, r.text)
                    want = 1
                else:
                    self.assertEqual(r.status_code, 200, r.text)
                    want = 2
                if f.v2 != "protobuf":
                    r = requests.post(f"{KLAMM}/v3/clusters/{cluster()}/topics/{topic}/records", timeout=WAIT, json={"value": {"data": f.doc}})
                    self.assertEqual(r.json().get("error_code"), 200, r.text)
                    want += 1
                read = f.deserializer()
                for m in consume(topic, want):
                    got = read(m.value(), where)
                    if f.v2 == "protobuf":
                        self.equal(json_format.MessageToDict(got), f.doc)
                    else:
                        self.assertEqual(got, f.python)

    def test_what_the_doors_register_is_what_deserializers_read(self):
        for f in FORMATS:
            with self.subTest(f.v2):
                topic = make_topic()
                # The first message of a file is the one that is meant.
                schema = f.schema.replace("message First { int32 unused = 1; }\n", "")
                r = requests.post(f"{KLAMM}/topics/{topic}", headers=v2_type(f.v2), timeout=WAIT, json={"value_schema": schema, "records": [{"value": f.doc}]})
                self.assertEqual(r.status_code, 200, r.text)
                r = requests.post(f"{KLAMM}/v3/clusters/{cluster()}/topics/{topic}/records", timeout=WAIT, json={"value": {"type": f.v3, "schema": schema, "data": f.doc}})
                self.assertEqual(r.json().get("error_code"), 200, r.text)
                r = requests.post(f"{KLAMM}/v3/clusters/{cluster()}/topics/{topic}/records", timeout=WAIT, json={"value": {"data": f.doc}})
                self.assertEqual(r.json().get("error_code"), 200, r.text)
                read = f.deserializer()
                if f.v2 == "protobuf" and not gives_descriptors(f"{topic}-value"):
                    read = unframed
                for m in consume(topic, 3):
                    got = read(m.value(), SerializationContext(topic, MessageField.VALUE))
                    if f.v2 == "protobuf":
                        self.equal(json_format.MessageToDict(got), f.doc)
                    else:
                        self.assertEqual(got, f.python)
                self.equal(read_v2(topic, f.v2), f.doc)

    def test_keys_have_schemas_of_their_own(self):
        topic = make_topic()
        r = requests.post(f"{KLAMM}/topics/{topic}", headers=v2_type("avro"), timeout=WAIT,
                          json={"key_schema": '"long"', "value_schema": '["null","string"]', "records": [{"key": BIG, "value": {"string": "v"}}, {"key": 1, "value": None}]})
        self.assertEqual(r.status_code, 200, r.text)
        got = consume(topic, 2)
        read = AvroDeserializer(REG)
        self.assertEqual([(read(m.key(), SerializationContext(topic, MessageField.KEY)), read(m.value(), SerializationContext(topic, MessageField.VALUE)) if m.value() else None)
                          for m in got], [(BIG, "v"), (1, None)])


if __name__ == "__main__":
    unittest.main(verbosity=2)
