// Changes with effects in the same database: what the handler does with the
// events and the acknowledgement are one transaction, so each event has its
// effect exactly once, whatever is killed.
//
// A subscription in SQL (subscribe, fetch, ack); needs no replication rights.

import { backoff, isConnectionError, isLostRace } from './errors.js';
import { Verbs } from './verbs.js';

const isInUse = '55006';          // by a session that is going away

export class Consumer {
  #database;
  #subscription;
  #handler;
  #options;
  #stop = new AbortController();
  #running = null;

  constructor(database, subscription, handler, { actorTypes = null, keyPrefix = null, startFrom = 'now', batch = 1000, wait = '10 s' } = {}) {
    this.#database = database;
    this.#subscription = subscription;
    this.#handler = handler;
    this.#options = { actorTypes, keyPrefix, startFrom, batch, wait };
  }

  // Resolves when the subscription is there. What goes wrong afterwards ends `done`.
  async start() {
    const { startFrom, actorTypes, keyPrefix } = this.#options;
    const client = await this.#database.connect();

    try {
      const known = await client.query('SELECT FROM actorstore.stat_subscriptions WHERE subscription = $1', [this.#subscription]);
      if (known.rowCount === 0) {
        await client.query('SELECT actorstore.subscribe($1, $2, $3, $4)', [this.#subscription, startFrom, actorTypes, keyPrefix]);
      }
    } finally {
      client.release();
    }
    this.#database.enter(this);
    this.#running = this.#run().finally(() => this.#database.leave(this));
    return this;
  }

  // Settles when the consumer has ended: by stop(), or with what went wrong.
  get done() {
    return this.#running;
  }

  // Ends after the batch at hand.
  async stop() {
    this.#stop.abort();
    await this.#running?.catch(() => {});
  }

  async #run() {
    const { signal } = this.#stop;

    for (let attempt = 0; !signal.aborted;) {
      const client = await this.#database.connect({ until: Infinity, signal });
      let lost = true;
      // a fetch that waits is woken by cancelling it
      const cancel = () => cancelWait(this.#database, client);

      signal.addEventListener('abort', cancel);
      try {
        while (!signal.aborted) {
          await this.#batch(client);
          attempt = 0;
        }
        lost = false;
      } catch (error) {
        lost = isConnectionError(error) || !(await undone(client));
        if (!signal.aborted && !isConnectionError(error) && !isLostRace(error) && error.code !== isInUse) throw error;
      } finally {
        signal.removeEventListener('abort', cancel);
        client.release(lost || signal.aborted);
      }
      await backoff(attempt++, 50, 2000, signal);
    }
  }

  async #batch(client) {
    const { batch, wait } = this.#options;

    await client.query('BEGIN');
    const { rows } = await client.query('SELECT * FROM actorstore.fetch($1, $2, $3)', [this.#subscription, batch, wait]);
    if (rows.length > 0) {
      await this.#handler(rows.map(camel), new Verbs((text, values) => client.query(text, values)));
      await client.query('SELECT actorstore.ack($1, $2)', [this.#subscription, rows.at(-1).sequence]);
    }
    await client.query('COMMIT');
  }
}

async function undone(client) {
  try {
    await client.query('ROLLBACK');
    return true;
  } catch {
    return false;
  }
}

// Ends what a connection waits for, from another one. It is of no use when that has gone, and of no harm.
export async function cancelWait(database, client) {
  try {
    await database.query('SELECT pg_cancel_backend($1)', [client.processID]);
  } catch {
    // the one that waits learns of it, too
  }
}

function camel(row) {
  return {
    sequence: row.sequence,
    operation: row.operation,
    actorType: row.actor_type,
    actorId: row.actor_id,
    previousValue: row.previous_value,
    previousVersion: row.previous_version === null ? null : Number(row.previous_version),
    newValue: row.new_value,
    newVersion: row.new_version === null ? null : Number(row.new_version),
    timestamp: row.timestamp,
  };
}
