// The functions of the extension, as methods: the same for a store, where each
// is a transaction of its own, and inside of a transaction.
//
// Values and bodies are what JSON.stringify makes of them; undefined is SQL
// NULL, null is JSON's. Message ids are strings: they have 64 bits.

// For setHandler: the message is handled by a worker, outside the database.
export const outside = 'actorstore.outside(jsonb, jsonb)';

export class Verbs {
  #run;

  // run(text, values, { repeat, lostRaces }) gives pg's result
  constructor(run) {
    this.#run = run;
  }

  // Any statement, as in pg: the result with its rows. repeat: it does no harm twice, and is sent again after a lost connection.
  query(text, values, { repeat = false } = {}) {
    return this.#run(text, values, { repeat });
  }

  // ---- State ----

  async get(actorType, actorId) {
    return this.#actor('get', [actorType, actorId], { repeat: true });
  }

  // lock 'share' or 'update': until the end of the transaction.
  async getMany(actorType, actorIds, { lock } = {}) {
    return this.#actors('get_many', [actorType, actorIds, lock], { repeat: true });
  }

  async getAll(actorType) {
    return this.#actors('get_all', [actorType], { repeat: true });
  }

  async list(actorType, { prefix, after, limit = 100 } = {}) {
    return this.#actors('list', [actorType, prefix, after, limit], { repeat: true });
  }

  async insert(actorType, actorId, value) {
    return this.#actor('insert', [actorType, actorId, json(value)]);
  }

  async update(actorType, actorId, value) {
    return this.#actor('update', [actorType, actorId, json(value)]);
  }

  async updateVersioned(actorType, actorId, value, expectedVersion) {
    return this.#actor('update_versioned', [actorType, actorId, json(value), expectedVersion], { lostRaces: false });
  }

  async compareAndSwap(actorType, actorId, expectedVersion, value) {
    const { rows: [row] } = await this.#call('compare_and_swap', [actorType, actorId, expectedVersion, json(value)]);

    return { swapped: row.swapped, version: number(row.version), value: row.value };
  }

  async put(actorType, actorId, value) {
    return this.#actor('put', [actorType, actorId, json(value)]);
  }

  async patch(actorType, actorId, patch) {
    return this.#actor('patch', [actorType, actorId, json(patch)]);
  }

  async delete(actorType, actorId) {
    return this.#actor('delete', [actorType, actorId]);
  }

  async deleteVersioned(actorType, actorId, expectedVersion) {
    return this.#actor('delete_versioned', [actorType, actorId, expectedVersion], { lostRaces: false });
  }

  // pairs: [actorId, value] each, or an object or a Map of them.
  async insertMany(actorType, pairs) {
    return number(await this.#value('insert_many', [actorType, ...columns(pairs)]));
  }

  async putMany(actorType, pairs) {
    return number(await this.#value('put_many', [actorType, ...columns(pairs)]));
  }

  // ---- Messages ----

  // The message's id. With a dedupKey it is sent again by itself if the connection was lost.
  async send(actorType, actorId, message, body, { priority = 4, delay, deliverAt, dedupKey, headers, expiresAt } = {}) {
    return this.#value('send', [actorType, actorId, message, json(body), priority, interval(delay), deliverAt, dedupKey, json(headers), expiresAt],
      { repeat: dedupKey !== undefined });
  }

  // One message each: pairs of actorId and body.
  async sendMany(actorType, pairs, message) {
    const [ids, bodies] = columns(pairs);

    return number(await this.#value('send_many', [actorType, ids, message, bodies]));
  }

  async cancel(messageId) {
    return this.#value('cancel', [messageId], { repeat: true });
  }

  async tell(actorType, actorId, message, body) {
    await this.#value('tell', [actorType, actorId, message, json(body)]);
  }

  async ask(actorType, actorId, message, body, { timeout = 5000, dedupKey } = {}) {
    return this.#value('ask', [actorType, actorId, message, json(body), interval(timeout), dedupKey], { repeat: dedupKey !== undefined });
  }

  async call(actorType, actorId, message, body) {
    return this.#value('call', [actorType, actorId, message, json(body)]);
  }

  // ---- Timers ----

  async setTimer(actorType, actorId, name, message, body, { after, at, every, missed = 'once' } = {}) {
    await this.#value('set_timer', [actorType, actorId, name, message, json(body), interval(after), at, interval(every), missed]);
  }

  async cancelTimer(actorType, actorId, name) {
    return this.#value('cancel_timer', [actorType, actorId, name]);
  }

  // ---- Types ----

  // options by the names of create_type's arguments: { persistence, mailboxLimit, onFull, maxAttempts, backoff, ... }.
  async createType(actorType, options = {}) {
    await this.#named('create_type', actorType, options);
  }

  async alterType(actorType, options) {
    await this.#named('alter_type', actorType, options);
  }

  async dropType(actorType, { events = true } = {}) {
    await this.#value('drop_type', [actorType, events]);
  }

  // handler: a function of the database by its signature, 'add_item(jsonb, jsonb)'; outside; null removes it.
  async setHandler(actorType, message, handler) {
    await this.#value('set_handler', [actorType, message, handler]);
  }

  async grantType(actorType, role, privileges) {
    await this.#value('grant_type', [actorType, role, privileges]);
  }

  async revokeType(actorType, role, privileges) {
    await this.#value('revoke_type', [actorType, role, privileges]);
  }

  async pause(actorType, actorId) {
    await this.#value('pause', [actorType, actorId]);
  }

  async resume(actorType, actorId) {
    await this.#value('resume', [actorType, actorId]);
  }

  // ---- What they are made of ----

  #call(name, values, options = {}) {
    return this.#run(`SELECT * FROM actorstore.${name}(${values.map((_, i) => `$${i + 1}`)})`, values.map(orNull), options);
  }

  async #value(name, values, options) {
    const { rows: [row] } = await this.#call(name, values, options);

    return Object.values(row)[0];
  }

  async #actor(name, values, options) {
    return actor((await this.#call(name, values, options)).rows[0]);
  }

  async #actors(name, values, options) {
    return (await this.#call(name, values, options)).rows.map(actor);
  }

  async #named(name, actorType, options) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    const list = given.map(([key], i) => `, ${snake(key)} => $${i + 2}`).join('');

    await this.#run(`SELECT actorstore.${name}($1${list})`, [actorType, ...given.map(([, value]) => value)], {});
  }
}

function actor(row) {
  if (row === undefined || row.actor_id === null) return null;
  return {
    actorType: row.actor_type,
    actorId: row.actor_id,
    value: row.value,
    version: number(row.version),
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

function columns(pairs) {
  const list = Array.isArray(pairs) ? pairs : pairs instanceof Map ? [...pairs] : Object.entries(pairs);

  return [list.map(([id]) => id), list.map(([, value]) => json(value) ?? null)];
}

export function json(value) {
  return value === undefined ? undefined : JSON.stringify(value);
}

// Versions and counts: they fit.
function number(text) {
  return text === null ? null : Number(text);
}

// Milliseconds, or what PostgreSQL reads as an interval.
export function interval(value) {
  return typeof value === 'number' ? `${value} milliseconds` : value;
}

function orNull(value) {
  return value === undefined ? null : value;
}

function snake(name) {
  if (!/^[a-zA-Z]+$/.test(name)) throw new TypeError(`no such option: ${name}`);
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
