"""Writes the lines of transactions.csv to the topic transactions, as Avro."""

import csv
import datetime
import decimal
import os
import uuid

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "transactions"

registry = SchemaRegistryClient({"url": os.environ["REGISTRY"]})
serialize = AvroSerializer(registry, open("transaction.avsc").read())
where = SerializationContext(TOPIC, MessageField.VALUE)
failed = []


def done(err, _):
    if err is not None:
        failed.append(err)


producer = Producer({"bootstrap.servers": os.environ["BROKERS"], "enable.idempotence": True})
noon = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.timezone.utc)
count = 0
for card, amount, country, minutes in csv.reader(open("transactions.csv")):
    value = {
        "id": str(uuid.uuid4()),
        "card": card,
        "amount": decimal.Decimal(amount),
        "country": country,
        "at": noon + datetime.timedelta(minutes=int(minutes)),
    }
    producer.produce(TOPIC, key=card, value=serialize(value, where), on_delivery=done)
    count += 1
producer.flush()
if failed:
    raise SystemExit(f"not written: {failed}")
print(f"{count} transactions written")
