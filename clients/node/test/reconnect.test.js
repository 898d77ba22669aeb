// The server restarts, crashes, and fails over under a client that goes on.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OutcomeUnknownError, connect } from 'actorstore';
import { promote, restart, stopServer, storeFor, until } from './helper.js';

test('a client outlives restarts and crashes of the server', async (t) => {
  const store = await storeFor(t);
  const warnings = [];
  const warned = (warning) => warnings.push(warning);

  process.on('warning', warned);
  t.after(() => process.off('warning', warned));
  await store.createType('kept');
  for (const mode of ['fast', 'immediate']) {
    let answers = 0;
    let running = true;
    const readers = Array.from({ length: 30 }, async () => {
      while (running) {
        await store.get('kept', 'k');
        answers++;
      }
    });

    await until(() => answers > 10);
    await restart(mode);
    const before = answers;
    await until(() => answers > before + 10);
    running = false;
    await Promise.all(readers);
  }
  assert.deepEqual(warnings, []);

  // what was sent and not answered is the caller's to decide
  const asleep = store.query('SELECT pg_sleep(600)');
  const failed = assert.rejects(asleep, OutcomeUnknownError);
  await until(async () => (await store.query("SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND wait_event = 'PgSleep'")).rowCount === 1);
  await restart('immediate');
  await failed;

  // a transaction that has not come to its COMMIT begins anew
  let tries = 0;
  const done = store.transaction(async (tx) => {
    tries++;
    await tx.put('kept', 'by transaction', tries);
    if (tries === 1) await tx.query('SELECT pg_terminate_backend(pg_backend_pid())');
  });
  await done;
  assert.equal(tries, 2);
  assert.equal((await store.get('kept', 'by transaction')).version, 0);
});

test('with a dedup key, each message is sent once through a crash', async (t) => {
  const store = await storeFor(t);
  const messages = 300;
  let sent = 0;

  await store.createType('inbox');
  const senders = Array.from({ length: 3 }, async (_, sender) => {
    for (let i = 0; i < messages; i++) {
      await store.send('inbox', `${sender}`, 'note', i, { dedupKey: `${sender}/${i}`, delay: '1 hour' });
      sent++;
    }
  });

  await until(() => sent > messages / 2);
  await restart('immediate');
  await Promise.all(senders);
  const { rows: [{ n, different }] } = await store.query("SELECT count(*)::int AS n, count(DISTINCT (actor_id, body))::int AS different FROM actorstore.message WHERE actor_type = 'inbox'");
  assert.deepEqual({ n, different }, { n: 3 * messages, different: 3 * messages });
});

test('a client with two hosts finds the one that is promoted', { skip: !process.env.STANDBY_PORT && 'no standby' }, async (t) => {
  const { PGHOST, PRIMARY_PORT, PRIMARY_DATA, STANDBY_PORT, STANDBY_DATA } = process.env;
  const standby = { host: PGHOST, port: Number(STANDBY_PORT) };
  const primary = { host: PGHOST, port: Number(PRIMARY_PORT) };

  await assert.rejects(connect({ hosts: [standby], reconnectTimeout: 100 }), /standby/);
  const store = await storeFor(t, { hosts: [standby, primary], reconnectTimeout: 180_000 });

  await store.put('survivor', 's', 1);
  assert.equal((await store.query("SELECT current_setting('port') AS port")).rows[0].port, PRIMARY_PORT);
  // synchronous, so nothing that was answered is lost
  await stopServer('immediate', PRIMARY_DATA);
  const read = store.get('survivor', 's');
  await promote(STANDBY_DATA);
  assert.equal((await read).value, 1);
  assert.equal((await store.query("SELECT current_setting('port') AS port")).rows[0].port, STANDBY_PORT);
  assert.equal((await store.put('survivor', 's', 2)).version, 1);
});
