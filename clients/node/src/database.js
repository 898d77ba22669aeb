// The connections: a pool that finds the server again after a restart or a
// failover, statements that are tried again where that is safe, transactions.
//
// A statement that was undone by a lost race (40001, 40P01) is tried again.
// One whose connection was lost before it was sent, too. One that was sent
// and not answered is repeated only if its caller says that this does no harm
// (`repeat`); otherwise the caller gets an OutcomeUnknownError.

import { setMaxListeners } from 'node:events';
import pg from 'pg';
import { OutcomeUnknownError, backoff, isConnectionError, isLostRace } from './errors.js';
import { checkVersion } from './version.js';

const defaults = {
  max: 10,
  connectionTimeoutMillis: 10_000,
  reconnectTimeout: 60_000,
  retries: 20,
};

export class Database {
  #pool;
  #hosts;
  #current = 0;
  #reconnectTimeout;
  #retries;
  #closing = new AbortController();
  #clientOptions;
  #max;
  #holders = new Set();  // workers and consumers: each holds a connection
  #followers = new Set();

  constructor(given) {
    const options = { ...defaults, ...(typeof given === 'string' ? { connectionString: given } : given) };
    const { hosts, reconnectTimeout, retries, ...poolOptions } = options;

    this.#hosts = (hosts ?? []).map(hostAndPort);
    if (this.#hosts.length > 0 && poolOptions.connectionString) {
      throw new TypeError('connectionString and hosts exclude each other');
    }
    this.#reconnectTimeout = reconnectTimeout;
    this.#retries = retries;
    const { max, ...clientOptions } = poolOptions;
    this.#max = max;
    this.#clientOptions = clientOptions;

    // each call that waits for the server listens
    setMaxListeners(0, this.#closing.signal);
    const target = () => this.#target();
    this.#pool = new pg.Pool({
      application_name: 'actorstore',
      keepAlive: true,
      ...poolOptions,
      Client: class extends pg.Client {
        constructor(config) {
          super({ ...config, ...target() });
        }
      },
      onConnect: (client) => this.#verify(client),
    });
    // What happens to an idle connection is found out, and dealt with, by its next user.
    this.#pool.on('error', () => {});
    this.#pool.on('connect', (client) => client.on('error', () => {}));
  }

  // For connections of another kind: the same place.
  get clientOptions() {
    return { ...this.#clientOptions, ...this.#target() };
  }

  get closing() {
    return this.#closing.signal;
  }

  // One that has stop() needs connections from now on, until it leaves. Those that hold one must leave one for the others.
  enter(one, { holds = true } = {}) {
    if (!holds) {
      this.#followers.add(one);
      return;
    }
    if (this.#holders.size + 1 >= this.#max) throw new RangeError(`max, ${this.#max}, is too low: each worker and each consumer holds a connection`);
    this.#holders.add(one);
  }

  leave(one) {
    this.#holders.delete(one);
    this.#followers.delete(one);
  }

  #target() {
    return this.#hosts[this.#current] ?? {};
  }

  // The next host, after the present one was of no use.
  nextHost() {
    if (this.#hosts.length > 0) this.#current = (this.#current + 1) % this.#hosts.length;
  }

  async #verify(client) {
    const { rows: [row] } = await client.query(`SELECT pg_is_in_recovery() AS standby,
      (SELECT extversion FROM pg_extension WHERE extname = 'actorstore') AS version`);

    if (row.standby) throw Object.assign(new Error('this server is a standby'), { code: 'ESTANDBY' });
    checkVersion(row.version);
  }

  // A connection for the caller alone, who releases it; waits for the server to be there, up to reconnectTimeout.
  async connect({ until = Date.now() + this.#reconnectTimeout, signal = this.#closing.signal } = {}) {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#pool.connect();
      } catch (error) {
        if (!isConnectionError(error) || signal.aborted || Date.now() >= until) throw error;
        this.nextHost();
      }
      await backoff(attempt, 50, 2000, signal);
    }
  }

  // One statement in a transaction of its own. repeat: it may be sent again if it is not known whether it took effect;
  // lostRaces false: 40001 is an answer, not an accident.
  async query(text, values = [], { repeat = false, lostRaces = true } = {}) {
    const until = Date.now() + this.#reconnectTimeout;

    for (let attempt = 0; ; attempt++) {
      const client = await this.connect({ until });

      try {
        const result = await client.query(text, values);
        client.release();
        return result;
      } catch (error) {
        const lost = isConnectionError(error);

        client.release(lost);
        if (lost) {
          if (!repeat) throw outcomeUnknown(error);
          if (Date.now() >= until) throw error;
        } else if (!lostRaces || !isLostRace(error) || attempt >= this.#retries) {
          throw error;
        }
      }
      await backoff(attempt, 5, 1000, this.#closing.signal);
    }
  }

  // What `body` does with the connection it is given, as one transaction. It is called again if the transaction was undone
  // by a lost race, or with the connection before COMMIT was sent.
  async transaction(body, { isolation = 'READ COMMITTED' } = {}) {
    if (!/^(READ COMMITTED|REPEATABLE READ|SERIALIZABLE)$/.test(isolation)) throw new TypeError(`no isolation level: ${isolation}`);
    const until = Date.now() + this.#reconnectTimeout;

    for (let attempt = 0; ; attempt++) {
      const client = await this.connect({ until });
      let committing = false;

      try {
        await client.query(`BEGIN ISOLATION LEVEL ${isolation}`);
        const result = await body(client);

        committing = true;
        const { command } = await client.query('COMMIT');
        if (command !== 'COMMIT') throw new Error('the transaction was rolled back: an error in it was caught and passed over');
        client.release();
        return result;
      } catch (error) {
        const lost = isConnectionError(error);

        await undo(client, lost);
        if (lost && committing) throw outcomeUnknown(error);
        if (!lost && (!isLostRace(error) || attempt >= this.#retries)) throw error;
        if (lost && Date.now() >= until) throw error;
      }
      await backoff(attempt, 5, 1000, this.#closing.signal);
    }
  }

  async end() {
    await Promise.allSettled([...this.#holders, ...this.#followers].map((one) => one.stop()));
    this.#closing.abort();
    await this.#pool.end();
  }
}

async function undo(client, lost) {
  if (lost) {
    client.release(true);
    return;
  }
  try {
    await client.query('ROLLBACK');
    client.release();
  } catch {
    client.release(true);
  }
}

function outcomeUnknown(cause) {
  return new OutcomeUnknownError(`the connection was lost before the answer came: the statement may have taken effect (${cause.message})`, { cause });
}

// "name", "name:port", "[address]:port", a directory of Unix sockets, or { host, port }.
function hostAndPort(given) {
  if (typeof given !== 'string') return given;
  const match = /^(?:\[(?<address>[^\]]+)\]|(?<name>[^:]*))(?::(?<port>\d+))?$/.exec(given);

  if (!match) throw new TypeError(`not a host, or host:port: ${given}`);
  const { address, name, port } = match.groups;
  return { host: address ?? name, ...(port ? { port: Number(port) } : {}) };
}
