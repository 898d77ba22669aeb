// queues.js SIDE VERB: graphile-worker and pg-boss in the benchmarks of queues.
//
//   prepare   makes its tables
//   work      handles messages until SIGTERM; with MARK=1 in the environment it marks commits (bench/plugin/handler.c),
//             with MARK=start (graphile-worker only) the time when each handler begins
//   fill MESSAGES     (pg-boss only) sends so many, for all 1,000 actors in turn
//   produce SECONDS   (pg-boss only) sends messages in batches of 100, prints how many
//
// The connection is in PGHOST and so on.
'use strict';
const { Pool } = require('pg');

const count = 'UPDATE counter SET n = n + 1 WHERE id = $1';
const countAndMark = 'WITH counted AS (UPDATE counter SET n = n + 1 WHERE id = $1) SELECT bench_mark($2)';

function untilTold() {
  return new Promise((resolve) => process.once('SIGTERM', resolve));
}

// ---- graphile-worker: its perfTest preset, but for latency its defaults ----

function graphilePool() {
  const pool = new Pool({ max: 25 });

  pool.on('error', (error) => { throw error; });
  pool.on('connect', (client) => client.on('error', (error) => { throw error; }));
  return pool;
}

const perfTest = {
  concurrentJobs: 24,
  maxPoolSize: 25,
  pollInterval: 2000,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};

function graphilePreset(pgPool, options) {
  const { Logger } = require('graphile-worker');

  return { worker: { pgPool, logger: new Logger(() => () => {}), ...options } };
}

const graphile = {
  async prepare() {
    const { runMigrations } = require('graphile-worker');
    const pgPool = graphilePool();

    await runMigrations({ pgPool });
    await pgPool.end();
  },

  async work() {
    const { run } = require('graphile-worker');
    const pgPool = graphilePool();
    const mark = process.env.MARK === '1';
    const start = process.env.MARK === 'start';
    const countJob = ({ id, body }) => (mark
      ? pgPool.query({ name: 'count', text: countAndMark, values: [id, body.number] })
      : pgPool.query({ name: 'count', text: count, values: [id] }));
    const runner = await run({
      preset: graphilePreset(pgPool, mark || start ? { concurrentJobs: 4 } : perfTest),
      noHandleSignals: true,
      taskList: {
        async count(job) {
          if (start) await pgPool.query('SELECT bench_mark_at($1, $2)', [job.body.number, process.hrtime.bigint() / 1000n]);
          await countJob(job);
        },
      },
    });

    await untilTold();
    await runner.stop();
    await pgPool.end();
  },
};

// ---- pg-boss: fetched and completed in batches of 100, without a pause between them ----

const BATCH = 100;

async function startBoss() {
  const PgBoss = require('pg-boss');
  const boss = new PgBoss({ max: 10, supervise: false, schedule: false });

  boss.on('error', (error) => { throw error; });
  await boss.start();
  return boss;
}

const pgboss = {
  async prepare() {
    const boss = await startBoss();

    await boss.createQueue('bench');
    await boss.stop({ graceful: false, wait: true });
  },

  async produce(seconds) {
    const boss = await startBoss();
    const pool = new Pool({ max: 1 });
    const { rows } = await pool.query('SELECT ids, bodies FROM batch');
    const batches = rows.map(({ ids, bodies }) => ids.map((id, i) => ({ name: 'bench', data: { id, body: bodies[i] } })));
    const end = Date.now() + seconds * 1000;
    let sent = 0;

    await pool.end();
    while (Date.now() < end) {
      await boss.insert(batches[Math.floor(Math.random() * batches.length)]);
      sent += BATCH;
    }
    process.stdout.write(`${sent}\n`);
    await boss.stop({ graceful: false, wait: true });
  },

  async fill(messages) {
    const boss = await startBoss();
    const note = 'leave at the door';

    for (let sent = 0; sent < messages; sent += 1000) {
      await boss.insert(Array.from({ length: 1000 }, (_, i) => (
        { name: 'bench', data: { id: String(1 + (sent + i) % 1000), body: { number: sent + i, customer: `${sent + i}`.padStart(32, '0'), note } } })));
    }
    await boss.stop({ graceful: false, wait: true });
  },

  async work() {
    const boss = await startBoss();
    const pool = new Pool({ max: 10 });
    let stop = false;

    untilTold().then(() => { stop = true; });
    while (!stop) {
      const jobs = await boss.fetch('bench', { batchSize: BATCH });

      await Promise.all(jobs.map(({ data }) => pool.query({ name: 'count', text: count, values: [data.id] })));
      if (jobs.length > 0) await boss.complete('bench', jobs.map(({ id }) => id));
      else await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await pool.end();
    await boss.stop({ graceful: false, wait: true });
  },
};

const [side, verb, ...args] = process.argv.slice(2);

({ graphile, pgboss })[side][verb](...args).catch((error) => {
  process.stderr.write(`${side} ${verb}: ${error.stack}\n`);
  process.exit(1);
});
