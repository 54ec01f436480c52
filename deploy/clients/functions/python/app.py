"""Reports single records of a batch: "bad..." always, "once..." the first time, and
writes down what it has done."""

import base64
import os

seen = set()


def handle(event, context):
    failures = []
    with open(os.environ["DONE"], "a") as done:
        for partition, records in event["records"].items():
            for record in records:
                text = base64.b64decode(record["value"]).decode()
                if text.startswith("bad") or text.startswith("once") and text not in seen:
                    seen.add(text)
                    failures.append({"itemIdentifier": {"partition": partition, "offset": record["offset"]}})
                else:
                    done.write(text + "\n")
    return {"batchItemFailures": failures}
