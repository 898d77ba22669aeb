// subscription.js NAME START TYPE...: a consumer in SQL.  It subscribes if it
// has not yet, keeps each event in the table seen, in the transaction that
// acknowledges it, and prints the sequences, before they are committed.  After
// the actor that says "the end" it unsubscribes.  The connection is in PGHOST
// and so on.
'use strict';
const { Client } = require('pg');

const IN_USE = '55006'; // by a session that is going away

// True if the end has come.
async function consume(client, name) {
  const { rows } = await client.query("SELECT * FROM actorstore.fetch($1, 100, '10 s')", [name]);

  if (rows.length === 0) return false;
  for (const row of rows) process.stdout.write(`${row.sequence}\n`);
  await client.query('INSERT INTO seen SELECT $1, * FROM jsonb_populate_recordset(NULL::actorstore.change_event, $2)',
    [name, JSON.stringify(rows)]);
  await client.query('SELECT actorstore.ack($1, $2)', [name, rows.at(-1).sequence]);
  return rows.some((row) => row.new_value === 'the end');
}

async function main(name, start, types) {
  const client = new Client();
  let ended = false;

  await client.connect();
  const known = await client.query('SELECT FROM actorstore.stat_subscriptions WHERE subscription = $1', [name]);
  if (known.rowCount === 0) await client.query('SELECT actorstore.subscribe($1, $2, $3)', [name, start, types]);

  while (!ended) {
    try {
      await client.query('BEGIN');
      ended = await consume(client, name);
      if (ended) await client.query('SELECT actorstore.unsubscribe($1)', [name]);
      await client.query('COMMIT');
    } catch (error) {
      if (error.code !== IN_USE) throw error;
      await client.query('ROLLBACK');
    }
  }
  await client.end();
}

const [name, start, ...types] = process.argv.slice(2);
main(name, start, types);
