// What the tests share. The server is that of PGHOST and so on; PGDATA is
// where its files are. test/t/073_node.pl starts it, and these.

import { execFile, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { connect } from 'actorstore';

// How long anything may take before a test gives up.
export const patience = 1000 * Number(process.env.PG_TEST_TIMEOUT_DEFAULT ?? 180);

export async function until(condition, what = String(condition)) {
  const end = Date.now() + patience;

  for (;;) {
    const value = await condition();

    if (value) return value;
    if (Date.now() > end) throw new Error(`has not come: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

// A store that goes with the test.
export async function storeFor(test, options) {
  const store = await connect(options ?? {});

  test.after(() => store.end());
  return store;
}

const execute = promisify(execFile);

// mode 'immediate' is a crash.
export async function restart(mode = 'fast', data = process.env.PGDATA) {
  await execute('pg_ctl', ['restart', '-D', data, '-m', mode, '-w', '-s', '-l', `${data}/../restarted.log`]);
}

export async function promote(data) {
  await execute('pg_ctl', ['promote', '-D', data, '-w', '-s']);
}

export async function stopServer(mode, data = process.env.PGDATA) {
  await execute('pg_ctl', ['stop', '-D', data, '-m', mode, '-w', '-s']);
}

// A program of this directory; its lines come to onLine, and its end settles `ended`.
export function start(program, args = []) {
  const child = spawn(process.execPath, [fileURLToPath(new URL(program, import.meta.url)), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const lines = [];
  let rest = '';

  child.errors = '';
  child.lines = lines;
  child.stdout.setEncoding('utf8').on('data', (text) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop();
    lines.push(...parts);
  });
  child.stderr.setEncoding('utf8').on('data', (text) => { child.errors += text; });
  child.ended = new Promise((resolve) => { child.on('close', (code, signal) => resolve(signal ?? code)); });
  return child;
}
