// consumer.js SUBSCRIPTION TYPE TABLE: notes each event in the table; a line for each batch. Ends with the actor 'end'.

import { connect } from 'actorstore';

const [subscription, type, table] = process.argv.slice(2);
const store = await connect();
let ended;
const end = new Promise((resolve) => { ended = resolve; });
const consumer = await store.consume(subscription, async (events, tx) => {
  await tx.query(`INSERT INTO ${table} SELECT * FROM unnest($1::text[], $2::text[], $3::int[])`,
    [events.map(({ sequence }) => sequence), events.map(({ actorId }) => actorId), events.map(({ newValue }) => newValue)]);
  process.stdout.write(`${events.length}\n`);
  if (events.some(({ actorId }) => actorId === 'end')) ended();
}, { actorTypes: [type], startFrom: 'beginning', batch: 100 }).start();

await Promise.race([end, consumer.done]);
await store.end();
