// A database with actors in it, as an application sees it.

import { Consumer } from './consume.js';
import { Database } from './database.js';
import { Follower } from './follow.js';
import { Verbs } from './verbs.js';
import { Worker } from './worker.js';

export class Store extends Verbs {
  #database;

  constructor(database) {
    super((text, values, options) => database.query(text, values, options));
    this.#database = database;
  }

  // body(transaction) has the same methods; what it does commits together or not at all, and is done again after a lost race.
  transaction(body, options) {
    return this.#database.transaction((client) => body(new Verbs((text, values) => client.query(text, values))), options);
  }

  // Changes, by streaming replication: for await (const event of store.follow('slot')).
  follow(slot, options) {
    return new Follower(this.#database, slot, options);
  }

  // Changes, with effects in this database: each exactly once.
  consume(subscription, handler, options) {
    return new Consumer(this.#database, subscription, handler, options);
  }

  // Handlers for messages: handlers[actorType][message](state, body, context).
  worker(handlers, options) {
    return new Worker(this.#database, handlers, options);
  }

  // Stops workers, consumers and followers, and closes the connections.
  end() {
    return this.#database.end();
  }
}

// options: those of pg, or a connection string; and hosts, reconnectTimeout, retries. Fails where there is no server, or
// one without the extension or with another version of it.
export async function connect(options = {}) {
  const database = new Database(options);

  try {
    (await database.connect()).release();
  } catch (error) {
    await database.end();
    throw error;
  }
  return new Store(database);
}
