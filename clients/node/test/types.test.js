// The types say what there is.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import * as actorstore from 'actorstore';
import { storeFor } from './helper.js';

const installed = dirname(dirname(fileURLToPath(import.meta.resolve('actorstore'))));

test('a program in TypeScript compiles, and what is wrong in it is found', () => {
  const require = createRequire(import.meta.url);
  const { status, stdout } = spawnSync(process.execPath, [require.resolve('typescript/bin/tsc'), '--noEmit', '--strict', '--target', 'es2022',
    '--module', 'nodenext', '--types', 'node', 'types.ts'], { encoding: 'utf8', cwd: fileURLToPath(new URL('.', import.meta.url)) });

  assert.equal(stdout, '');
  assert.equal(status, 0);
});

test('what is exported is declared, and what is declared is there', async (t) => {
  const declared = readFileSync(join(installed, 'index.d.ts'), 'utf8');
  const names = [...declared.matchAll(/^export (?:const|function|class) (\w+)/gm)].map(([, name]) => name);
  const store = await storeFor(t);
  const methods = (prototype) => Object.getOwnPropertyNames(prototype).filter((name) => name !== 'constructor');
  const block = (name) => new RegExp(`export interface ${name}\\b.*?\\n}`, 's').exec(declared)[0];
  const members = (name) => [...block(name).matchAll(/^ {2}(?:readonly )?(\w+)[<(:]/gm)].map(([, member]) => member);
  const unique = (list) => [...new Set(list)].sort();

  assert.deepEqual(names.sort(), Object.keys(actorstore).sort());
  assert.deepEqual(unique(members('Store')), methods(Object.getPrototypeOf(store)).sort());
  assert.deepEqual(unique(members('Verbs')), methods(Object.getPrototypeOf(Object.getPrototypeOf(store))).sort());
  assert.deepEqual(unique(members('Worker').filter((name) => name !== 'on' && name !== 'off')),
    methods(Object.getPrototypeOf(store.worker({ a: { m() {} } }))).sort());
});

test('the package has what it needs, and nothing else', () => {
  for (const file of ['package.json', 'README.md', 'index.d.ts', 'src/index.js']) assert.ok(existsSync(join(installed, file)), file);
  for (const file of ['test', 'package-lock.json', 'node_modules']) assert.ok(!existsSync(join(installed, file)), file);
  const { version, dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  assert.equal(version, actorstore.version);
  assert.deepEqual(Object.keys(dependencies), ['pg', 'pg-logical-replication']);
});

test('tries come at longer and longer intervals, give or take a half, up to a bound', async (t) => {
  const { backoff } = await import(pathToFileURL(join(installed, 'src', 'errors.js')));
  const waits = [];

  t.mock.method(globalThis, 'setTimeout', (done, milliseconds) => { waits.push(milliseconds); queueMicrotask(done); });
  for (let attempt = 0; attempt < 30; attempt++) await backoff(attempt, 50, 2000);
  waits.forEach((wait, attempt) => {
    const middle = Math.min(2000, 50 * 2 ** attempt);
    assert.ok(wait >= middle / 2 && wait <= middle * 1.5, `${wait} ms before try ${attempt}`);
  });
  assert.ok(new Set(waits.slice(10)).size > 10);
});
