// Changes: by streaming replication, and with effects in the database.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { restart, start, storeFor, until } from './helper.js';

test('a follower gets each change once, in order, as an async iterator', async (t) => {
  const store = await storeFor(t);

  await store.createType('followed');
  await store.createType('other');
  const follower = await store.follow('f1', { actorTypes: ['followed'], keyPrefix: 'k' }).start();

  await store.put('followed', 'k1', { n: 1 });
  await store.put('other', 'k1', 1);
  await store.put('followed', 'x', 1);
  await store.putMany('followed', { k1: { n: 2 }, k2: null });
  await store.delete('followed', 'k1');

  const seen = [];
  for await (const event of follower) {
    seen.push(event);
    if (event.operation === 'DELETE') break;
  }
  assert.deepEqual(seen.map(({ operation, actorId, previousValue, previousVersion, newValue, newVersion }) =>
    [operation, actorId, previousValue, previousVersion, newValue, newVersion]), [
    ['INSERT', 'k1', null, null, { n: 1 }, 0],
    ['UPDATE', 'k1', { n: 1 }, 0, { n: 2 }, 1],
    ['INSERT', 'k2', null, null, null, 0],
    ['DELETE', 'k1', { n: 2 }, 1, null, null]]);
  assert.ok(seen.every(({ sequence }, i) => i === 0 || sequence > seen[i - 1].sequence));

  // the one that was in hand when the loop was left comes again, and nothing else
  const again = store.follow('f1', { actorTypes: ['followed'], keyPrefix: 'k', acknowledge: 'manual' });
  const { value } = await again.next();
  assert.deepEqual(value, seen.at(-1));
  again.ack(value.sequence);
  const { rows: [{ lsn }] } = await store.query('SELECT pg_current_wal_lsn() AS lsn');
  await until(async () => {
    const { rows: [{ ok }] } = await store.query("SELECT confirmed_flush_lsn >= $1 AS ok FROM pg_replication_slots WHERE slot_name = 'f1'", [lsn]);
    return ok;
  }, 'what was acknowledged is so at the server');
  await again.stop();
  assert.equal((await again.next()).done, true);

  // two follow with one slot: the second waits until the first has gone
  const one = await store.follow('f1').start();
  await store.put('followed', 'k9', 9);
  assert.equal((await one.next()).value.actorId, 'k9');
  const two = store.follow('f1', { after: value.sequence }).next();
  await one.stop();
  assert.equal((await two).value.actorId, 'k9');

  await assert.rejects(store.follow('none', { create: false }).next(), /there is no slot none/);
  await store.query("SELECT pg_create_logical_replication_slot('foreign', 'pgoutput')");
  await assert.rejects(store.follow('foreign').next(), /pgoutput/);
  await assert.rejects(store.follow('f2', { operations: ['nonsense'] }).next(), { code: '22023' });
});

test('a follower that is not read holds the server back, and acknowledges what others do', async (t) => {
  const store = await storeFor(t);

  await store.createType('quick');
  const follower = await store.follow('f3', { actorTypes: ['quick'] }).start();
  const changes = 5000;
  for (let i = 0; i < changes; i += 500) await store.putMany('quick', Array.from({ length: 500 }, (_, n) => [`${i + n}`, 'x'.repeat(500)]));

  await new Promise((resolve) => { setTimeout(resolve, 300); });
  let n = 0;
  for await (const event of follower) {
    assert.equal(event.actorId.length > 0, true);
    if (++n === changes) break;
  }
  assert.equal(n, changes);

  // nothing for it any more: its position moves on with what the server tells
  const idle = store.follow('f3', { actorTypes: ['quick'], after: 'FFFFFFFFFFFFFFFF-00000000' });
  const none = idle.next();
  const { rows: [{ lsn }] } = await store.query('SELECT pg_current_wal_lsn() AS lsn');
  await until(async () => {
    await store.put('other', 'busy', 1);
    return (await store.query("SELECT FROM pg_replication_slots WHERE slot_name = 'f3' AND confirmed_flush_lsn > $1", [lsn])).rowCount === 1;
  }, 'the position moves on');
  await idle.stop();
  assert.equal((await none).done, true);
});

test('a follower goes on after restarts and crashes, without a gap or a repetition', async (t) => {
  const store = await storeFor(t);
  const seen = [];

  await store.createType('steady');
  const follower = await store.follow('f4', { actorTypes: ['steady'] }).start();
  const reading = (async () => {
    for await (const { actorId, newValue } of follower) {
      seen.push(newValue);
      if (actorId === 'end') break;
    }
  })();
  let written = 0;
  const write = async (n) => {
    for (let i = 0; i < n; i++) {
      written++;
      // a put is not repeated by itself: it might count twice
      await store.transaction((tx) => tx.put('steady', 's', written));
    }
  };

  await write(50);
  await until(() => seen.length > 5);
  await restart('fast');
  await write(50);
  await restart('immediate');
  await write(50);
  await store.put('steady', 'end', 'end');
  await reading;
  assert.deepEqual(seen, [...Array.from({ length: written }, (_, i) => i + 1), 'end']);
});

test('a slot that is gone is told: there may be a gap', async (t) => {
  const store = await storeFor(t);
  const follower = await store.follow('f5').start();
  const next = follower.next();
  const rejected = assert.rejects(next, { name: 'EventsLostError' });

  await until(async () => {
    // the follower comes back at once: it must find the slot gone
    await store.query("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'f5' AND active");
    try {
      await store.query("SELECT pg_drop_replication_slot('f5')");
      return true;
    } catch {
      return false;
    }
  }, 'the slot is dropped');
  await rejected;
});

test('a consumer that is killed again and again has each effect once', async (t) => {
  const store = await storeFor(t);
  const actors = 40;
  let stop = false;

  await store.query('CREATE TABLE effect (sequence text, actor_id text, n int)');
  await store.createType('source');
  await store.putMany('source', Array.from({ length: actors }, (_, i) => [`${i}`, 0]));
  const writer = (async () => {
    for (let n = 1; !stop; n++) await store.putMany('source', Array.from({ length: actors }, (_, i) => [`${i}`, n]));
  })();

  for (let kill = 0; kill < 4; kill++) {
    const consumer = start('consumer.js', ['effects', 'source', 'effect']);

    await until(() => consumer.lines.length > 2 || consumer.exitCode !== null, `the consumer works: ${consumer.errors}`);
    consumer.kill('SIGKILL');
    assert.equal(await consumer.ended, 'SIGKILL', consumer.errors);
  }
  stop = true;
  await writer;
  await store.put('source', 'end', -1);
  const consumer = start('consumer.js', ['effects', 'source', 'effect']);
  assert.equal(await consumer.ended, 0, consumer.errors);

  const { rows: [check] } = await store.query(`SELECT count(*) = count(DISTINCT sequence) AS once,
      (SELECT count(*)::int FROM (SELECT DISTINCT ON (actor_id) actor_id, n FROM effect ORDER BY actor_id, sequence COLLATE "C" DESC) AS last
        JOIN actorstore.actor_source AS a ON a.actor_id = last.actor_id AND a.value = to_jsonb(last.n)) AS agree,
      (SELECT count(*)::int FROM (SELECT n - lag(n) OVER (PARTITION BY actor_id ORDER BY sequence COLLATE "C") AS step FROM effect) AS s WHERE step <> 1) AS gaps
    FROM effect`);
  assert.deepEqual(check, { once: true, agree: actors + 1, gaps: 0 });
});

test('a consumer whose handler throws ends with that, and nothing is acknowledged', async (t) => {
  const store = await storeFor(t);

  await store.createType('bad');
  const consumer = await store.consume('bad', () => { throw new Error('cannot'); }, { actorTypes: ['bad'] }).start();
  const failed = assert.rejects(consumer.done, { message: 'cannot' });
  await store.put('bad', 'b', 1);
  await failed;

  const seen = [];
  const next = await store.consume('bad', (events) => { seen.push(...events); }, { actorTypes: ['bad'] }).start();
  await until(() => seen.length > 0);
  await next.stop();
  await next.done;
  assert.deepEqual(seen.map(({ operation, actorId, newValue, newVersion }) => [operation, actorId, newValue, newVersion]), [['INSERT', 'b', 1, 0]]);
});
