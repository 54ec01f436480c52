"""Writes the records of a batch into one object for each partition, as lines of JSON.

The name of an object says which records are in it, so a batch that is delivered again
replaces its object. Values and keys that are no text are kept in base64, tombstones are
null, and headers keep their order.
"""

import base64
import json
import os

import boto3

s3 = boto3.client("s3")


def plain(raw):
    """Bytes as JSON has them: text where they are text."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode("ascii")}


def field(record, name):
    value = record.get(name)
    return None if value is None else plain(base64.b64decode(value))


def line(record):
    return json.dumps(
        {
            "offset": record["offset"],
            "timestamp": record["timestamp"],
            "key": field(record, "key"),
            "value": field(record, "value"),
            # The bytes of headers are signed.
            "headers": [[name, plain(bytes(b & 0xFF for b in value))] for header in record["headers"] for name, value in header.items()],
        },
        ensure_ascii=False,
    )


def lambda_handler(event, context):
    for records in event["records"].values():
        first, last = records[0], records[-1]
        key = "%s/%d/%020d-%020d.jsonl" % (first["topic"], first["partition"], first["offset"], last["offset"])
        s3.put_object(Bucket=os.environ["S3_BUCKET_NAME"], Key=key, Body="".join(line(r) + "\n" for r in records).encode("utf-8"))
