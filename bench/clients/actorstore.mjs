// actorstore.mjs TYPE [MESSAGES]: the client for Node.js in the benchmark of
// clients: counts the messages of a type, at most so many a turn, until
// SIGTERM. With MARK=1 in the environment it marks the time when each handler
// begins (bench/plugin/handler.c).

import { connect } from 'actorstore';

const [type, messages] = process.argv.slice(2);
const concurrency = Number(process.env.CONCURRENCY ?? 200);
const mark = process.env.MARK === '1';
const store = await connect();

async function count(state, { number }) {
  await store.query('SELECT bench_mark_at($1, $2)', [number, process.hrtime.bigint() / 1000n]);
  return { count: (state?.count ?? 0) + 1 };
}

const worker = store.worker({
  [type]: { '*': mark ? count : (state) => ({ count: (state?.count ?? 0) + 1 }) },
}, { concurrency, maxMessages: messages === undefined ? undefined : Number(messages) }).start();

worker.on('failed', (error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
process.once('SIGTERM', async () => {
  await worker.stop();
  await store.end();
});
