// State, messages, timers and types, as methods.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codes, connect } from 'actorstore';
import { storeFor, until } from './helper.js';

test('state, with versions and typed errors', async (t) => {
  const store = await storeFor(t);

  await store.createType('book', { maxAttempts: 3, backoff: 10 + ' ms', onFull: 'error' });
  assert.equal(await store.get('book', 'b-1'), null);
  const inserted = await store.insert('book', 'b-1', { title: 'ü "quoted" \\ 日本', pages: 1 });
  assert.deepEqual({ ...inserted, createdAt: 0, updatedAt: 0 },
    { actorType: 'book', actorId: 'b-1', value: { title: 'ü "quoted" \\ 日本', pages: 1 }, version: 0, createdAt: 0, updatedAt: 0 });
  assert.ok(inserted.createdAt instanceof Date && inserted.updatedAt instanceof Date);

  await assert.rejects(store.insert('book', 'b-1', 1), { code: '23505' });
  assert.equal((await store.update('book', 'b-1', { pages: 2 })).version, 1);
  assert.deepEqual((await store.patch('book', 'b-1', { pages: null, author: 'ada' })).value, { author: 'ada' });
  await assert.rejects(store.updateVersioned('book', 'b-1', 0, 7), { code: '40001', detail: 'expected version 7, actual version 2' });
  assert.deepEqual(await store.compareAndSwap('book', 'b-1', 7, 0), { swapped: false, version: 2, value: { author: 'ada' } });
  assert.deepEqual(await store.compareAndSwap('book', 'b-1', 2, [1]), { swapped: true, version: 3, value: [1] });
  assert.deepEqual(await store.compareAndSwap('book', 'none', 2, 0), { swapped: false, version: null, value: null });
  assert.equal((await store.put('book', 'b-1', null)).value, null, 'null is a value');
  await assert.rejects(store.put('book', 'b-1', undefined), { code: '22004' }, 'undefined is none');
  await assert.rejects(store.update('book', 'none', 1), { code: 'P0002' });

  assert.equal(await store.putMany('book', { 'b-2': 2, 'b-3': null, 'c-1': [] }), 3);
  assert.equal(await store.insertMany('book', [['b-4', { a: 1 }]]), 1);
  assert.deepEqual((await store.getMany('book', ['b-3', 'none', 'b-2'], { lock: 'share' })).map(({ actorId, value }) => [actorId, value]), [['b-3', null], ['b-2', 2]]);
  assert.deepEqual((await store.list('book', { prefix: 'b-', after: 'b-1', limit: 2 })).map(({ actorId }) => actorId), ['b-2', 'b-3']);
  assert.equal((await store.getAll('book')).length, 5);
  assert.equal((await store.delete('book', 'c-1')).actorId, 'c-1');
  assert.equal(await store.delete('book', 'c-1'), null);
  await assert.rejects(store.deleteVersioned('book', 'b-2', 9), { code: '40001' });
  await assert.rejects(store.createType('bad', { 'x; drop': 1 }), TypeError);
  await store.alterType('book', { mailboxLimit: 2 });
  await store.dropType('book');
  await assert.rejects(store.send('book', 'b-1', 'm'), { code: '42704' });
});

test('messages, answers and timers', async (t) => {
  const store = await storeFor(t);

  await store.query(`CREATE FUNCTION tally(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql
    RETURN jsonb_build_object('n', coalesce((state->>'n')::int, 0) + coalesce((body->>'by')::int, 1))`);
  await store.createType('tally');
  await store.setHandler('tally', '*', 'tally(jsonb, jsonb)');

  assert.match(await store.send('tally', 't', 'add', { by: 2 }, { priority: 1, headers: { from: 'here' } }), /^\d+$/);
  const first = await store.send('tally', 't', 'add', { by: 3 }, { dedupKey: 'once' });
  assert.equal(await store.send('tally', 't', 'add', { by: 3 }, { dedupKey: 'once' }), first);
  assert.equal(await store.sendMany('tally', [['t', { by: 10 }], ['u', undefined]], 'add'), 2);
  const late = await store.send('tally', 't', 'add', { by: 100 }, { delay: '1 hour' });
  assert.equal(await store.cancel(late), true);
  assert.equal(await store.cancel(late), false);
  await until(async () => (await store.get('tally', 't'))?.value.n === 15, 't is 15');
  await until(async () => (await store.get('tally', 'u'))?.value.n === 1, 'u is 1');

  assert.deepEqual(await store.ask('tally', 't', 'add', { by: 1 }, { timeout: 60_000 }), { n: 16 });
  assert.deepEqual(await store.call('tally', 't', 'add', { by: 1 }), { n: 17 });
  await store.tell('tally', 't', 'add', { by: 1 });
  await until(async () => (await store.get('tally', 't')).value.n === 18, 't is told');
  await store.setTimer('tally', 't', 'soon', 'add', { by: 2 }, { after: 10 });
  await until(async () => (await store.get('tally', 't')).value.n === 20, 'the timer');
  await store.setTimer('tally', 't', 'later', 'add', undefined, { at: new Date('2200-01-01'), every: '1 day', missed: 'skip' });
  assert.equal(await store.cancelTimer('tally', 't', 'later'), true);

  await store.pause('tally');
  await assert.rejects(store.ask('tally', 't', 'add'), { code: codes.stopped });
  await store.resume('tally');
  await store.createType('mute');
  await assert.rejects(store.call('mute', 'm', 'anything'), { code: codes.noHandler });
});

test('a transaction commits as one or not at all, and is done again after a lost race', async (t) => {
  const store = await storeFor(t);

  await assert.rejects(store.transaction(async (tx) => {
    await tx.put('pot', 'a', 1);
    throw new Error('no');
  }), { message: 'no' });
  assert.equal(await store.get('pot', 'a'), null);
  await assert.rejects(store.transaction(async (tx) => {
    await tx.put('pot', 'a', 1);
    await tx.update('pot', 'none', 1).catch(() => {});
  }), /rolled back/);
  await assert.rejects(store.transaction(() => {}, { isolation: 'SERIALIZABLE; DROP TABLE x' }), TypeError);

  await store.put('pot', 'a', 0);
  const tries = await Promise.all(Array.from({ length: 8 }, async () => {
    let n = 0;
    await store.transaction(async (tx) => {
      n++;
      const { value } = await tx.get('pot', 'a');
      await tx.put('pot', 'a', value + 1);
    }, { isolation: 'REPEATABLE READ' });
    return n;
  }));
  assert.equal((await store.get('pot', 'a')).value, 8, 'nothing is lost');
  assert.ok(tries.reduce((sum, n) => sum + n) > 8, `some had to be done again: ${tries}`);
});

test('versions: what does not fit is told, and nothing is done', async (t) => {
  const store = await storeFor(t);
  const pretend = (version) => store.query("UPDATE pg_extension SET extversion = $1 WHERE extname = 'actorstore'", [version]);

  try {
    for (const version of ['1.2', '2.0', '0.9', '1.10']) {
      await pretend(version);
      await assert.rejects(connect(), (error) => error.name === 'VersionError' && error.message.includes(`the database has ${version}:`));
    }
    await pretend('1.1');
    await (await connect()).end();
  } finally {
    await pretend('1.0');
  }
  await store.query('CREATE DATABASE without');
  await assert.rejects(connect({ database: 'without' }), /VersionError.*not installed/);
  await assert.rejects(connect({ database: 'nowhere' }), { code: '3D000' });
});
