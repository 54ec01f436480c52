"""Reads transactions and looks for what is unusual for a card.

Writes a notification to the topic notifications for each anomaly, and one with a summary
for every third transaction of a card. What it knows of a card is in memory: begin with
the oldest transaction, as this does, and it comes to know the same again. It goes on
until it is told to stop (SIGTERM); offsets are committed when the notifications are
written, so that none is lost.
"""

import os
import signal
from collections import defaultdict

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

registry = SchemaRegistryClient({"url": os.environ["REGISTRY"]})
read = AvroDeserializer(registry)
write = AvroSerializer(registry, open("notification.avsc").read())
incoming = SerializationContext("transactions", MessageField.VALUE)
outgoing = SerializationContext("notifications", MessageField.VALUE)

consumer = Consumer(
    {
        "bootstrap.servers": os.environ["BROKERS"],
        "group.id": "transaction-analyser",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
)
producer = Producer({"bootstrap.servers": os.environ["BROKERS"], "enable.idempotence": True})
cards = defaultdict(list)  # the transactions of a card, the oldest first


def unusual(seen, t):
    """Says what is unusual about a transaction, or nothing."""
    if not seen:
        return None
    usual = sum(s["amount"] for s in seen) / len(seen)
    if t["amount"] > 10 * usual:
        return f"{t['amount']} is more than ten times the {usual:.2f} that is usual"
    if t["country"] != seen[-1]["country"] and (t["at"] - seen[-1]["at"]).total_seconds() < 3600:
        return f"{seen[-1]['country']} and {t['country']} within an hour"
    return None


def notify(kind, t, reason):
    evidence = {"id": str(t["id"]), "cents": int(t["amount"] * 100), "country": t["country"]}
    value = {"eventType": kind, "source": "transactionAnalyzer", "card": t["card"], "reason": reason, "transaction": evidence}
    producer.produce("notifications", key=t["card"], value=write(value, outgoing))
    print(kind, t["card"], reason, flush=True)


def stop(*_):
    raise SystemExit


signal.signal(signal.SIGTERM, stop)
consumer.subscribe(["transactions"])
try:
    while True:
        messages = [m for m in consumer.consume(100, 0.5) if m.error() is None]
        for message in messages:
            t = read(message.value(), incoming)
            seen = cards[t["card"]]
            reason = unusual(seen, t)
            if reason:
                notify("suspiciousActivity", t, reason)
            else:
                seen.append(t)
                if len(seen) % 3 == 0:
                    notify("accountSummary", t, f"{len(seen)} transactions")
        if messages:
            producer.flush()
            consumer.commit(asynchronous=False)
finally:
    consumer.close()
