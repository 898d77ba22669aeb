// Workers: what handlers may do, and what becomes of those that misbehave.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RetryAfter, codes, outside } from 'actorstore';
import { restart, start, storeFor, until } from './helper.js';

const soon = { maxAttempts: 2, backoff: '10 ms', backoffMax: '20 ms' };

async function typeFor(store, type, options = {}) {
  await store.createType(type, { ...soon, ...options });
  await store.setHandler(type, '*', outside);
}

async function deadLetters(store, type) {
  return (await store.query('SELECT actor_id, message, error FROM actorstore.dead_letter WHERE actor_type = $1 ORDER BY message_id', [type])).rows;
}

const value = async (store, type, id) => (await store.get(type, id))?.value;

test('types and workers have any names', async (t) => {
  const store = await storeFor(t);
  const types = ['say "hi"', 'back\\slash', '{a, b}', 'NULL', "O'Hara"];

  for (const type of types) await typeFor(store, type);
  const worker = store.worker(Object.fromEntries(types.map((type) => [type, { '*': (state, body, context) => [context.actorType, body] }])),
    { name: 'the "first" one', maxMessages: 2 }).start();

  for (const type of types) assert.deepEqual(await store.ask(type, 'a', 'm', 1.5, { timeout: '1 min' }), [type, 1.5]);
  await worker.stop();
});

test('handlers get state, body and context, and give state, messages and answers', async (t) => {
  const store = await storeFor(t);
  const contexts = [];

  await typeFor(store, 'basket');
  await typeFor(store, 'log');
  const worker = store.worker({
    basket: {
      add(state, { item, n }, context) {
        contexts.push({ ...pick(context), aborted: context.signal.aborted });
        const items = { ...state?.items };
        items[item] = (items[item] ?? 0) + n;
        context.send('log', context.actorId, 'note', { item, n }, { headers: { by: 'basket' } });
        return { items };
      },
      async look(state, body, context) {
        context.reply({ items: Object.keys(state.items).length });
      },
      spoil(state) {
        state.items = null;          // not returned
      },
      null: () => null,
      '*': (state, body, { message }) => ({ other: message }),
    },
    log: {
      note: (state, body, context) => [...(state ?? []), { ...body, sender: context.sender, by: context.headers.by }],
    },
  }).start();

  await store.send('basket', 'c', 'add', { item: 'tea', n: 1 }, { headers: { 'x-trace': 'ü' } });
  await store.send('basket', 'c', 'add', { item: 'tea', n: 2 });
  await store.send('basket', 'c', 'add', { item: 'milk', n: 1 });
  // what is asked comes before what is sent
  await until(async () => (await value(store, 'basket', 'c'))?.items.milk === 1, 'all is in the cart');
  assert.deepEqual(await store.ask('basket', 'c', 'look', null, { timeout: '1 min' }), { items: 2 });
  assert.deepEqual(await store.ask('basket', 'c', 'spoil', null, { timeout: '1 min' }), { items: { tea: 3, milk: 1 } });
  assert.deepEqual(await value(store, 'basket', 'c'), { items: { tea: 3, milk: 1 } });
  await until(async () => (await value(store, 'log', 'c'))?.length === 3, 'the log has all');
  const sender = { actorType: 'basket', actorId: 'c' };
  assert.deepEqual(await value(store, 'log', 'c'),
    [{ item: 'tea', n: 1, sender, by: 'basket' }, { item: 'tea', n: 2, sender, by: 'basket' }, { item: 'milk', n: 1, sender, by: 'basket' }]);

  assert.deepEqual(contexts[0], { actorType: 'basket', actorId: 'c', version: null, message: 'add', attempt: 1, asked: false, sender: null,
    headers: { 'x-trace': 'ü' }, aborted: false });
  assert.equal(await store.ask('basket', 'c', 'null', null, { timeout: '1 min' }), null);
  assert.deepEqual(await store.get('basket', 'c').then(({ value: v }) => v), null, 'null is a state');
  assert.deepEqual(await store.ask('basket', 'c', 'whatever', null, { timeout: '1 min' }), { other: 'whatever' });
  assert.deepEqual(await deadLetters(store, 'basket'), []);
  await worker.stop();
  const { messages, inHand, failed, lost } = worker.stats;
  assert.deepEqual({ messages, inHand, failed, lost }, { messages: 10, inHand: 0, failed: 0, lost: 0 });
});

function pick({ actorType, actorId, version, message, attempt, asked, sender, headers }) {
  return { actorType, actorId, version, message, attempt, asked, sender, headers };
}

test('a handler that throws is called again, then its message is a dead letter with message and stack', async (t) => {
  const store = await storeFor(t);
  const attempts = [];
  const failures = [];

  await typeFor(store, 'thrower');
  const worker = store.worker({
    thrower: {
      good: (state) => (state ?? 0) + 1,
      bad(state, body, { attempt }) { attempts.push(attempt); throw new RangeError('out of tea'); },
      later(state, body, { attempt }) { throw attempt > 100 ? new Error('never') : ++later < 4 ? new RetryAfter(5) : new Error('late'); },
      worse() { throw 'no error at all'; },               // eslint-disable-line no-throw-literal
      strange: () => () => {},
      big: () => 10n,
      round() { const o = {}; o.o = o; return o; },
      sends(state, body, context) { context.send('no such type', 'x', 'm'); },
      'sends badly': (state, body, context) => context.send('thrower', '', 'm'),
      'sends late': (state, body, context) => { afterwards = context; },
    },
  });
  let later = 0;
  let afterwards;
  worker.on('failed', (error, actor) => failures.push([error, actor]));
  worker.start();

  await store.send('thrower', 'a', 'good');
  for (const message of ['bad', 'later', 'worse', 'strange', 'big', 'round', 'sends', 'sends badly', 'nobody']) await store.send('thrower', message, message);
  await store.send('thrower', 'a', 'bad');
  await store.send('thrower', 'a', 'good');
  await store.send('thrower', 'a', 'sends late');
  await until(async () => (await store.query("SELECT FROM actorstore.message WHERE actor_type = 'thrower'")).rowCount === 0, 'all are dealt with');

  const letters = Object.fromEntries((await deadLetters(store, 'thrower')).map(({ actor_id: id, error }) => [id, error]));
  assert.deepEqual(Object.keys(letters).sort(), ['a', 'bad', 'big', 'later', 'nobody', 'round', 'sends', 'sends badly', 'strange', 'worse']);
  assert.match(letters.bad, /^RangeError: out of tea\n\s+at .*worker\.test\.js:\d+/);
  assert.match(letters.worse, /^thrown: no error at all$/);
  assert.match(letters.strange, /returned a function, which is no JSON/);
  assert.match(letters.big, /BigInt/);
  assert.match(letters.round, /circular/);
  assert.match(letters.sends, /no such type/);
  assert.match(letters['sends badly'], /actor_id/);
  assert.match(letters.nobody, /no handler for nobody of thrower/);
  assert.match(letters.later, /^Error: late/);
  assert.equal(later, 5, 'put off three times, and two attempts');
  assert.equal(await value(store, 'thrower', 'a'), 2, 'what comes before and after goes on');
  // a turn of several messages that fails is none; then each is tried alone
  assert.ok(attempts.length >= 4 && Math.max(...attempts) === 2, `attempts: ${attempts}`);
  assert.ok(failures.some(([error, { actorId }]) => error instanceof RangeError && actorId === 'bad'));
  assert.throws(() => afterwards.reply(1), /has ended/);
  await worker.stop();
});

test('a handler that hangs is given up, and others go on', async (t) => {
  const store = await storeFor(t);
  const reasons = [];

  await typeFor(store, 'hanger');
  const worker = store.worker({
    hanger: {
      hang: (state, body, { signal }) => new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          reasons.push(signal.reason.name);
          // too late: of no effect
          resolve({ late: true });
        });
      }),
      go: () => ({ gone: true }),
    },
  }, { handlerTimeout: 200, concurrency: 3 }).start();

  await store.sendMany('hanger', ['a', 'b', 'c', 'd'].map((id) => [id, null]), 'hang');
  await store.sendMany('hanger', [['a', null], ['z', null]], 'go');
  await until(async () => (await deadLetters(store, 'hanger')).length === 4 && await value(store, 'hanger', 'a') && await value(store, 'hanger', 'z'));
  for (const { error } of await deadLetters(store, 'hanger')) assert.equal(error, 'HandlerTimeoutError: the handler of hang has run for 200 ms');
  assert.ok(reasons.length >= 8 && reasons.every((reason) => reason === 'HandlerTimeoutError'), `reasons: ${reasons}`);
  assert.deepEqual(await value(store, 'hanger', 'a'), { gone: true });
  assert.equal(await value(store, 'hanger', 'b'), undefined);
  await worker.stop();
});

test('a hundred turns at once, on three connections', async (t) => {
  const store = await storeFor(t, { application_name: 'hundred', max: 3 });
  let inHand = 0;
  let go;
  const all = new Promise((resolve) => { go = resolve; });

  await typeFor(store, 'slow');
  const worker = store.worker({
    slow: { async wait(state) { if (++inHand === 100) go(); await all; return (state ?? 0) + 1; } },
  }, { concurrency: 100 }).start();
  await store.sendMany('slow', Array.from({ length: 100 }, (_, i) => [`${i}`, null]), 'wait');
  await all;
  assert.equal(worker.stats.inHand, 100);
  await until(async () => (await store.getAll('slow')).length === 100, 'all have ended');
  assert.ok((await store.query("SELECT FROM pg_stat_activity WHERE application_name = 'hundred'")).rowCount <= 3);

  // and those that ended at once ended together, in few transactions
  const { rows: [{ n }] } = await store.query("SELECT count(DISTINCT xmin::text)::int AS n FROM actorstore.actor WHERE actor_type = 'slow'");
  assert.ok(n <= 10, `${n} transactions`);
  await worker.stop();
});

test('a lease is extended while its handler runs; one worker runs it', async (t) => {
  const store = await storeFor(t);
  let runs = 0;

  await typeFor(store, 'long');
  const handlers = { long: { async work() { runs++; await new Promise((resolve) => { setTimeout(resolve, 7000); }); return 'done'; } } };
  const workers = [store.worker(handlers, { lease: 3000 }).start(), store.worker(handlers, { lease: 3000 }).start()];

  await store.send('long', 'l', 'work');
  await until(async () => await value(store, 'long', 'l') === 'done');
  assert.equal(runs, 1);
  await Promise.all(workers.map((worker) => worker.stop()));
});

test('somebody changes the actor meanwhile: the turn is run again, with that', async (t) => {
  const store = await storeFor(t);
  const states = [];

  await typeFor(store, 'disturbed');
  const worker = store.worker({
    disturbed: {
      async grow(state) {
        states.push(state);
        if (states.length === 1) await store.put('disturbed', 'd', 10);
        return (state ?? 0) + 1;
      },
    },
  }).start();
  await store.send('disturbed', 'd', 'grow');
  await until(async () => await value(store, 'disturbed', 'd') === 11, 'it is 11');
  assert.deepEqual(states, [null, 10]);
  await worker.stop();
});

test('a worker that stops finishes what it can and gives back the rest', async (t) => {
  const store = await storeFor(t);
  const attempts = [];
  const ends = [];

  await typeFor(store, 'stopping');
  const handler = (state, body, { signal, attempt }) => new Promise((resolve) => {
    attempts.push(attempt);
    if (body === 'short') setTimeout(resolve, 300, 'done');
    signal.addEventListener('abort', () => ends.push(signal.reason.name));
  });
  const worker = store.worker({ stopping: { work: handler } }, { lease: 600_000 }).start();
  await store.sendMany('stopping', { a: 'short', b: 'long' }, 'work');
  await until(() => attempts.length === 2);
  await worker.stop({ timeout: 1000 });
  assert.deepEqual(ends, ['TurnLostError']);
  assert.equal(await value(store, 'stopping', 'a'), 'done');
  assert.equal(worker.stats.inHand, 0);
  await store.send('stopping', 'c', 'work', 'after');

  const next = store.worker({ stopping: { work(state, body, { attempt }) { attempts.push(attempt); return 'by the next'; } } }).start();
  await until(async () => await value(store, 'stopping', 'b') === 'by the next' && await value(store, 'stopping', 'c') === 'by the next');
  assert.deepEqual(attempts, [1, 1, 1, 1], 'what was given back was no attempt');
  await next.stop();
});

test('what cannot work is told', async (t) => {
  const store = await storeFor(t);

  assert.throws(() => store.worker({}), TypeError);
  assert.throws(() => store.worker({ a: { m: 'text' } }), TypeError);
  assert.throws(() => store.worker({ a: { m() {} } }, { lease: 0 }), RangeError);
  const small = await storeFor(t, { max: 1 });
  assert.throws(() => small.worker({ a: { m() {} } }).start(), /max, 1, is too low/);
  await assert.rejects(store.worker({ 'no such type': { m() {} } }).start().done, { code: '42704' });
  await assert.rejects(store.query('SELECT actorstore.complete(1, 1)'), { code: codes.leaseLost });
});

test('the server restarts and crashes under a running worker: each message has effect once', async (t) => {
  const store = await storeFor(t, { reconnectTimeout: 600_000 });
  const actors = 20;
  const each = 60;
  let handled = 0;

  await typeFor(store, 'counted', { maxAttempts: 100 });
  const worker = store.worker({
    counted: {
      async add(state) {
        handled++;
        await new Promise((resolve) => { setTimeout(resolve, 1); });
        return (state ?? 0) + 1;
      },
    },
  }, { lease: 2000, maxMessages: 3 }).start();
  for (let i = 0; i < each; i++) await store.sendMany('counted', Array.from({ length: actors }, (_, id) => [`${id}`, i]), 'add');
  for (const mode of ['fast', 'immediate', 'fast']) {
    const before = handled;
    await until(() => handled > before + 30 || handled >= actors * each);
    await restart(mode);
  }
  await until(async () => (await store.query("SELECT FROM actorstore.message WHERE actor_type = 'counted'")).rowCount === 0, 'all are handled');
  assert.deepEqual((await store.getAll('counted')).map(({ value: n }) => n), Array(actors).fill(each));
  assert.deepEqual(await deadLetters(store, 'counted'), []);
  await worker.stop();
});

test('worker processes that are killed, exit, or are held: each message has effect once', async (t) => {
  const store = await storeFor(t);
  const actors = 10;
  const each = 50;

  await typeFor(store, 'robust', { maxAttempts: 100 });
  for (let i = 0; i < each; i++) await store.sendMany('robust', Array.from({ length: actors }, (_, id) => [`${id}`, i]), 'add');

  const started = async (how) => {
    const child = start('worker.js', ['robust', how]);
    await until(() => child.lines.length > 20 || child.exitCode !== null, `the worker works: ${child.errors}`);
    return child;
  };
  const killed = await started('slowly');
  killed.kill('SIGKILL');
  assert.equal(await killed.ended, 'SIGKILL');
  const exits = await started('exit');
  assert.equal(await exits.ended, 7, exits.errors);

  // one that is held until its leases have run out comes too late
  const held = await started('slowly');
  held.kill('SIGSTOP');
  const last = start('worker.js', ['robust', 'quickly']);
  await until(async () => (await store.query("SELECT FROM actorstore.message WHERE actor_type = 'robust'")).rowCount === 0 || last.exitCode !== null,
    `the last worker finishes all: ${last.errors}`);
  held.kill('SIGCONT');
  held.kill('SIGTERM');
  last.kill('SIGTERM');
  assert.equal(await held.ended, 0, held.errors);
  assert.equal(await last.ended, 0, last.errors);
  assert.match(held.lines.at(-1), /^lost [1-9]/);
  assert.deepEqual((await store.getAll('robust')).map(({ value: n }) => n), Array(actors).fill(each));
  assert.deepEqual(await deadLetters(store, 'robust'), []);
});
