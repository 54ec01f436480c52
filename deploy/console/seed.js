// Fills a klamm with real traffic, through its HTTP APIs alone: records of all kinds, an
// Avro topic, groups, a bus with rules, refused requests, and markup wherever somebody
// from outside can put a text.
import { readFileSync } from 'node:fs';
import { until } from './klamm.js';
import { markup, script } from './markup.js';

// The client is what the seeding and the tests call klamm with.
export class Client {
  constructor(url, key) { Object.assign(this, { url, key }); }

  // call gives {status, text, document}; it throws for what is not 2xx unless may says that the
  // status is expected.
  async call(method, path, body, { headers = {}, may = [] } = {}) {
    const init = { method, headers: { ...(this.key ? { 'X-Api-Key': this.key } : {}), ...headers } };
    if (body !== undefined) {
      init.body = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
      if (!Object.keys(headers).some((h) => h.toLowerCase() === 'content-type')) init.headers['Content-Type'] = 'application/json';
    }
    const answer = await fetch(this.url + path, init);
    const text = await answer.text();
    if (!answer.ok && !may.includes(answer.status)) throw new Error(`${method} ${path}: ${answer.status} ${text.slice(0, 400)}`);
    let document;
    try { document = JSON.parse(text); } catch { /* not JSON */ }
    return { status: answer.status, text, document, headers: answer.headers };
  }

  get(path) { return this.call('GET', path).then((a) => a.document); }

  // records writes values, or {key, value} objects, with the API v2.
  records(topic, records, may) {
    return this.call('POST', '/topics/' + topic, { records: records.map((r) => (r && r.value !== undefined ? r : { value: r })) }, { headers: { 'Content-Type': 'application/vnd.kafka.json.v2+json' }, may });
  }

  aws(operation, body) {
    return this.call('POST', '/', body, { headers: { 'Content-Type': 'application/x-amz-json-1.1', 'X-Amz-Target': 'AWSEvents.' + operation } }).then((a) => a.document);
  }
}

const order = (n) => ({ key: 'customer-' + (n % 20), value: { id: n, customer: n % 20, total: (n * 37) % 500, state: n % 3 ? 'paid' : 'open' } });

const schemaOne = { type: 'record', name: 'Customer', namespace: 'shop', fields: [{ name: 'id', type: 'long' }, { name: 'name', type: 'string' }] };
const schemaTwo = { ...schemaOne, doc: markup('schema'), fields: [...schemaOne.fields, { name: 'city', type: ['null', 'string'], default: null }] };

// seed comes back when everything is there and has been delivered or refused as it should.
export async function seed(url, keys, receiver) {
  const op = new Client(url, keys.operator);
  const topics = { orders: 4, readings: 2, heartbeats: 2, hostile: 1, payments: 1, binary: 1, customers: 2, firehose: 4, 'empty-topic': 1 };
  // The rights of the configuration count once klamm has read what others made at run time.
  await until('klamm lets the operator in', () => op.get('/klamm/v1/topics'), 60);
  for (const [topic, partitions] of Object.entries(topics)) await op.call('POST', '/klamm/v1/topics', { topic, partitions }, { may: [409] });
  const many = Array.from({ length: 120 }, (_, i) => 'many.' + String(i).padStart(4, '0'));
  for (let at = 0; at < many.length; at += 10) {
    await Promise.all(many.slice(at, at + 10).map((topic) => op.call('POST', '/klamm/v1/topics', { topic, partitions: 1 }, { may: [409] })));
  }

  for (let at = 0; at < 600; at += 100) await op.records('orders', Array.from({ length: 100 }, (_, i) => order(at + i)));
  await op.records('payments', Array.from({ length: 5 }, (_, i) => ({ key: 'p' + i, value: { iban: 'DE00 SECRET ' + i } })));
  await op.records('readings', [{ key: 'd-1', value: { device: 'd-1', celsius: 21.5 } }]);
  await op.records('heartbeats', Array.from({ length: 6 }, (_, i) => ({ key: 'd-' + i, value: { device: 'd-' + (i % 2), beat: i } })));
  for (let i = 0; i < 4; i++) {
    await op.call('POST', '/topics/hostile?key=' + encodeURIComponent(markup('key')), { note: script('value'), [markup('member')]: i },
      { headers: { 'X-Kafka-H-Evil': markup('header'), 'X-Kafka-H-Plain': 'fine' } });
  }
  await op.call('POST', '/topics/hostile?key=' + encodeURIComponent(script('key of a text')), script('text value'), { headers: { 'Content-Type': 'text/plain' } });
  await op.call('POST', '/topics/binary?key=raw', Buffer.from([0, 1, 2, 254, 255, 60, 62]), { headers: { 'Content-Type': 'application/octet-stream' } });

  const avro = (schema, records) => op.call('POST', '/topics/customers', { value_schema: JSON.stringify(schema), records: records.map((value) => ({ value })) }, { headers: { 'Content-Type': 'application/vnd.kafka.avro.v2+json' } });
  await avro(schemaOne, [{ id: 1, name: 'Ada' }, { id: 2, name: markup('avro') }]);
  await avro(schemaTwo, [{ id: 3, name: 'Grace', city: { string: 'Bern' } }]);

  // A group whose member stays away, and one that is here.
  const v2 = { headers: { 'Content-Type': 'application/vnd.kafka.v2+json' } };
  const instance = async (group, name) => {
    await op.call('POST', '/consumers/' + group, { name, format: 'json', 'auto.offset.reset': 'earliest', 'auto.commit.enable': 'false' }, { ...v2, may: [409] });
    await op.call('POST', `/consumers/${group}/instances/${name}/subscription`, { topics: ['orders'] }, v2);
    await until('the group ' + group + ' reads', async () => (await op.call('GET', `/consumers/${group}/instances/${name}/records?timeout=500&max_bytes=20000`, undefined, { headers: { Accept: 'application/vnd.kafka.json.v2+json' } })).document.length > 0, 60);
    await op.call('POST', `/consumers/${group}/instances/${name}/offsets`);
  };
  await instance('billing', 'gone');
  await op.call('DELETE', '/consumers/billing/instances/gone');
  await instance('team', 'one');

  // A pipe that was made at run time, and is paused.
  await op.call('PUT', '/klamm/v1/pipes/orders-paused', { name: 'orders-paused', topics: ['orders'], start: 'earliest', target: { webhook: { url: receiver.url + '/paused' } } });
  await until('orders-paused is carried out, and pauses', async () => (await op.call('POST', '/klamm/v1/pipes/orders-paused/pause', undefined, { may: [404] })).status === 200, 60);

  await op.aws('CreateEventBus', { Name: 'shop', Description: markup('bus') });
  await op.aws('PutRule', { Name: 'large', EventBusName: 'shop', Description: markup('rule'), EventPattern: JSON.stringify({ source: ['shop'], detail: { total: [{ numeric: ['>', 100] }] } }) });
  await op.aws('PutTargets', { Rule: 'large', EventBusName: 'shop', Targets: [{ Id: 'topic', Arn: 'arn:klamm:kafka:::topic/large-orders' }] });
  await op.aws('PutRule', { Name: 'nobody', EventBusName: 'shop', EventPattern: JSON.stringify({ source: ['warehouse'] }) });
  const onShop = (n, type) => ({ EventBusName: 'shop', Source: 'shop', DetailType: type, Detail: JSON.stringify({ id: n, total: n * 60, note: markup('event') }) });
  for (let i = 0; i < 3; i++) await op.aws('PutEvents', { Entries: Array.from({ length: 5 }, (_, n) => onShop(n, 'order')) });
  await until('an event that no rule matches is sampled', async () => { // one that comes soon after another is not
    await op.aws('PutEvents', { Entries: [onShop(0, markup('detail-type'))] });
    const { samples } = await op.get('/klamm/v1/buses/shop');
    return samples.some((s) => JSON.parse(s.event)['detail-type'] === markup('detail-type'));
  }, 60);

  await refused(url, keys);
  await until('the function answers', async () => (await op.call('POST', '/2015-03-31/functions/score/invocations', { hello: 'world' }, { may: [429] })).status === 200, 240); // not before the pipe leaves it room
  await until('the pipes have delivered', () => (receiver.got.get('/shop') || 0) >= 600 && receiver.got.get('/large') > 0 && receiver.got.get('/enriched') >= 600, 120);
  await until('there are dead letters', async () => {
    const a = await op.get('/klamm/v1/pipes/hostile-refused/dead-letters');
    const b = await op.get('/klamm/v1/pipes/heartbeats-failing/dead-letters');
    return JSON.stringify(a).includes('400') && JSON.stringify(b).includes('503');
  }, 90);
  return { many: many.length, topics: Object.keys(topics) };
}

// refused makes calls that klamm refuses, each for another reason.
export async function refused(url, keys) {
  const device = new Client(url, keys.device);
  for (let i = 0; i < 6; i++) await device.records('readings', [{ value: { device: 'd', celsius: 1 } }], [429]); // throttled
  await new Client(url, keys.evil).records('readings', [{ value: { device: markup('refused value'), celsius: 'hot' } }], [400, 422]); // by the schema
  await new Client(url, keys.evil).call('GET', '/topics/orders/records', undefined, { may: [403, 404] }); // not allowed to read
  await new Client(url, keys.reader).records('orders', [{ value: 1 }], [403]); // not allowed to write
  await new Client(url, keys.evil).call('GET', '/topics/' + encodeURIComponent(markup('path')), undefined, { may: [400, 403, 404, 422] });
  await new Client(url, 'no-such-key-of-the-console-proof').records('orders', [{ value: 1 }], [401, 403]); // nobody
}

// traffic goes on, a little, until the function that it gives is called.
export function traffic(url, keys) {
  const op = new Client(url, keys.operator);
  let n = 1000;
  let ended = false;
  const run = (async () => {
    while (!ended) {
      try {
        await op.records('orders', Array.from({ length: 5 }, () => order(n++)));
        if (n % 50 === 0) await refused(url, keys);
      } catch (e) { if (!ended) console.error('traffic:', e.message); }
      await new Promise((done) => setTimeout(done, 500));
    }
  })();
  return () => { ended = true; return run; };
}

// The world that world.js tells of.
export const told = () => JSON.parse(process.env.KLAMM_WORLD || readFileSync(0, 'utf8'));
