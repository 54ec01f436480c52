// Takes the place of the part of aws-lambda-ric that is compiled, where there are no
// tools to compile it: the requests to the Lambda Runtime API, one after the other.
'use strict';
const http = require('http');

const agent = new http.Agent({keepAlive: true, maxSockets: 1});
const base = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/`;

const ask = (method, path, body) => new Promise((resolve, reject) => {
  const request = http.request(base + path, {method, agent}, (answer) => {
    let text = '';
    answer.setEncoding('utf8');
    answer.on('data', (chunk) => { text += chunk; });
    answer.on('end', () => resolve({bodyJson: text, headers: answer.headers}));
  });
  request.on('error', reject);
  request.end(body);
});

let before = Promise.resolve();
const then = (...what) => { before = before.catch(() => {}).then(() => ask(...what)); return before; };

module.exports = {
  next: () => then('GET', 'next'),
  done: (id, body) => { then('POST', `${id}/response`, body); },
  error: (id, body) => { then('POST', `${id}/error`, body); },
};
