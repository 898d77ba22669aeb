// browser.mjs URL PROFILE: opens the page in headless Chromium. Then, for each
// line of input, a JavaScript expression, it prints its value in the page, as
// a line of JSON; PNG=FILE saves a picture, and quit ends it.
//
// It speaks Chromium's protocol over a pair of pipes, which needs no package.

import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const [url, profile] = process.argv.slice(2);
const browser = spawn('chromium', ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--window-size=1280,900', '--remote-debugging-pipe', `--user-data-dir=${profile}`],
{ stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
const [,,, to, from] = browser.stdio;
const waiting = new Map();
let number = 0;
let rest = '';

from.setEncoding('utf8').on('data', (text) => {
  const parts = (rest + text).split('\0');
  rest = parts.pop();
  for (const part of parts) {
    const { id, result, error } = JSON.parse(part);
    const { resolve, reject } = waiting.get(id) ?? {};

    waiting.delete(id);
    if (error) reject?.(new Error(error.message));
    else resolve?.(result);
  }
});
browser.on('error', (error) => {
  process.stderr.write(`chromium does not start: ${error.message}\n`);
  process.exit(1);
});

function call(method, params = {}, sessionId = undefined) {
  const id = ++number;

  to.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
  return new Promise((resolve, reject) => { waiting.set(id, { resolve, reject }); });
}

const { targetId } = await call('Target.createTarget', { url });
const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'quit') break;
  if (line.startsWith('PNG=')) {
    const { data } = await call('Page.captureScreenshot', {}, sessionId);
    writeFileSync(line.slice(4), Buffer.from(data, 'base64'));
    continue;
  }
  const { result, exceptionDetails } = await call('Runtime.evaluate', { expression: line, returnByValue: true }, sessionId);
  process.stdout.write(`${JSON.stringify(exceptionDetails ? { exception: exceptionDetails.exception.description } : result.value)}\n`);
}

// it may end before it answers
const ended = new Promise((resolve) => { browser.on('exit', resolve); });
call('Browser.close');
setTimeout(() => browser.kill('SIGKILL'), 10_000).unref();
await ended;
process.exit(0);
