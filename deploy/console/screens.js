// What is looked at: every screen with the address that is opened and what a person has to
// read there on the traffic of seed.js. A screen that is not here fails the tests.
import { markup } from './markup.js';

export const screens = [
  { id: 'overview', title: 'Overview', looks: [{ at: '#/overview', sees: ['orders-paused', 'target down', 'given up', 'requests', 'delivered by pipes'] }] },
  { id: 'start', title: 'Getting started', looks: [{ at: '#/start', sees: ['curl'] }] },
  {
    id: 'topics', title: 'Topics and messages', looks: [
      { at: '#/topics', sees: ['binary', 'customers', 'heartbeats', 'many.0000'] },
      { at: '#/topics/orders', sees: ['orders', 'customer-'], picture: true },
      { at: '#/topics/hostile', sees: ['hostile', "onerror=\"window.__xss='key"] },
      { at: '#/topics/customers', sees: ['Grace', 'Bern'] },
      { at: '#/topics/empty-topic', sees: ['empty-topic'] },
    ],
  },
  { id: 'tail', title: 'Live tail', looks: [{ at: '#/tail', sees: ['choose a topic'] }, { at: '#/tail/orders', sees: ['customer-', 'not drawn'], picture: true }] },
  { id: 'produce', title: 'Produce', looks: [{ at: '#/produce', sees: ['topic', 'key', 'value'] }] },
  { id: 'schemas', title: 'Schemas', looks: [{ at: '#/schemas', sees: ['customers-value'] }, { at: '#/schemas/customers-value', sees: ['customers-value', 'city', markup('schema').slice(0, 18)], picture: true }] },
  { id: 'requests', title: 'Requests', looks: [{ at: '#/requests', sees: ['429', 'per-device'] }] },
  { id: 'groups', title: 'Consumers and groups', looks: [{ at: '#/groups', sees: ['billing', 'team'] }, { at: '#/groups/billing', sees: ['billing', 'orders'] }] },
  { id: 'pipes', title: 'Pipes', looks: [{ at: '#/pipes', sees: ['orders-to-shop', 'orders-paused', 'paused', 'hostile-refused'] }, { at: '#/pipes/orders-large', sees: ['filter', 'transform', 'orders-large'], picture: true }] },
  { id: 'targets', title: 'Targets', looks: [{ at: '#/targets', sees: [/127\.0\.0\.1:\d+/] }] },
  { id: 'deliveries', title: 'Deliveries', looks: [{ at: '#/deliveries', sees: ['heartbeats-failing', '503'] }, { at: '#/deliveries?pipe=orders-to-shop', sees: ['delivered', '200'], picture: true }] },
  { id: 'letters', title: 'Dead letters', looks: [{ at: '#/letters', sees: ['hostile-refused', 'heartbeats-failing'] }, { at: '#/letters/hostile-refused', sees: ['HTTP status 400', 'onerror='], picture: true }] },
  { id: 'replay', title: 'Replay', looks: [{ at: '#/replay', sees: ['orders-to-shop'] }] },
  { id: 'functions', title: 'Functions', looks: [{ at: '#/functions', sees: ['score', 'hook'] }, { at: '#/functions/score', sees: ['score', 'provided.al2023'], picture: true }, { at: '#/functions/score?tab=log', sees: ['scored', 'onerror='] }] },
  { id: 'bus', title: 'Event buses', looks: [{ at: '#/bus', sees: ['shop', 'default', markup('bus')] }, { at: '#/bus/shop', sees: ['large', 'nobody'], picture: true }, { at: '#/bus/shop/rules/large', sees: ['large', 'numeric'] }, { at: '#/bus/shop?tab=unmatched', sees: ['onerror='] }] },
  { id: 'sandbox', title: 'Rule sandbox', looks: [{ at: '#/sandbox', sees: ['pattern'] }] },
  { id: 'access', title: 'Access', looks: [{ at: '#/access', sees: ['kafka-cluster:ReadData', 'topic:orders'] }, { at: '#/access/policies', sees: ['operators', 'door'], picture: true }, { at: '#/access/keys', sees: ['evil', markup('principal')] }] },
  { id: 'audit', title: 'Audit', looks: [{ at: '#/audit', sees: ['Audit log', 'refused'] }] },
];
