// Confluent's own Node client of the REST Proxy against klamm. It was written for
// version 1 of the API; told to speak version 2 it sends version 2's media types,
// and what it then calls (metadata and produce) is the same in both.
'use strict';
const {test} = require('node:test');
const assert = require('node:assert');
const KafkaRest = require('kafka-rest');

KafkaRest.prototype.SUPPORTED_VERSIONS.push(2);
const url = process.env.KLAMM_URL;
const ask = (call) => new Promise((done, fail) => call((err, got) => (err ? fail(err) : done(got))));

for (const version of [1, 2]) {
  test(`version ${version}`, async () => {
    const client = new KafkaRest({url, version});
    const name = `clients-v${version}-${process.pid}`;
    const produced = await ask((done) => client.topic(name).produce({key: 'k', value: 'one'}, {key: 'k', value: Buffer.from([0, 255])}, done));
    assert.deepStrictEqual(produced.offsets.map((o) => o.offset), [0, 1]);
    const {partition} = produced.offsets[0];
    const more = await ask((done) => client.topicPartition(name, partition).produce('three', done));
    assert.strictEqual(more.offsets[0].offset, 2);

    const topics = await ask((done) => client.topics.list(done));
    assert.ok(topics.some((t) => t.name === name));
    const topic = await ask((done) => client.topics.get(name, done));
    assert.ok(topic.raw.partitions.length >= 1 && topic.raw.configs);
    const partitions = await ask((done) => client.topic(name).partitions.list(done));
    assert.strictEqual(partitions.length, topic.raw.partitions.length);
    const one = await ask((done) => client.topic(name).partitions.get(partition, done));
    assert.strictEqual(one.id, partition);
    const brokers = await ask((done) => client.brokers.list(done));
    assert.ok(brokers.length >= 1);
    await assert.rejects(ask((done) => client.topics.get('there-is-no-such-topic', done)), (err) => {
      assert.strictEqual(err.status, 404);
      assert.strictEqual(err.data.error_code, 40403);
      return true;
    });

    const read = await fetch(`${url}/topics/${name}/partitions/${partition}/records?offset=0&count=3`, {headers: {Accept: 'application/vnd.kafka.binary.v2+json'}});
    const values = (await read.json()).map((r) => r.value);
    assert.deepStrictEqual(values, ['one', Buffer.from([0, 255]), 'three'].map((v) => Buffer.from(v).toString('base64')));
  });
}
