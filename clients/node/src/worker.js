// A worker: takes turns from the server, runs the handlers, and returns what
// has become of them.
//
// One connection waits for turns (checkout is woken by the server), others
// carry the results; how many turns are in hand is no matter of connections.
// A lease is extended while its turn runs. What the process leaves undone when
// it dies is offered to others once the leases run out.
//
// Events: 'turn' (how a turn ended) and 'failed' (a handler's error).

import { EventEmitter } from 'node:events';
import { hostname } from 'node:os';
import { checkout } from './checkout.js';
import { Completions } from './completions.js';
import { cancelWait } from './consume.js';
import { HandlerTimeoutError, RetryAfter, TurnLostError, backoff, codes, isConnectionError, isLostRace } from './errors.js';
import { Turn } from './turn.js';
import { interval } from './verbs.js';

const defaults = {
  concurrency: 100,               // turns in hand
  lease: 30_000,                  // of a turn; extended while it runs
  handlerTimeout: 60_000,         // of a message
  maxWait: 5_000,                 // of a checkout that finds nothing
};
// With some turns in hand and little room, a checkout waits so long for more room: larger checkouts are cheaper.
const gather = 2;
const mostTurns = 1000;           // of a checkout
const shownOfStack = 8000;        // characters

export class Worker extends EventEmitter {
  #database;
  #handlers;
  #options;
  #completions;
  #turns = new Map();             // in hand, by id
  #running = null;
  #stop = new AbortController();
  #waiting = new Set();           // who waits for a turn to end
  #heartbeat;
  #counts = { turns: 0, messages: 0, failed: 0, lost: 0 };

  constructor(database, handlers, options = {}) {
    super();
    this.#database = database;
    this.#handlers = new Map(Object.entries(handlers).map(([type, byMessage]) => [type, new Handlers(type, byMessage)]));
    if (this.#handlers.size === 0) throw new TypeError('a worker needs handlers');
    this.#options = { name: `${hostname()}:${process.pid}`, ...defaults, ...options };
    for (const key of ['concurrency', 'lease', 'handlerTimeout', 'maxWait']) {
      if (!(this.#options[key] > 0)) throw new RangeError(`${key} must be more than 0`);
    }
    this.#completions = new Completions(database);
  }

  // Turns in hand, and totals.
  get stats() {
    return { ...this.#counts, inHand: this.#turns.size };
  }

  start() {
    if (this.#running !== null) throw new Error('the worker has been started');
    this.#database.enter(this);
    this.#heartbeat = setInterval(() => this.#extend(), this.#options.lease / 6);
    this.#running = this.#run();
    return this;
  }

  // Settles when the worker takes no more turns: by stop(), or with what went wrong.
  get done() {
    return this.#running;
  }

  // Takes no more turns, finishes those in hand, and gives back what is not finished in time.
  async stop({ timeout = 30_000 } = {}) {
    this.#stop.abort();
    this.#wake();
    const until = Date.now() + timeout;

    while (this.#turns.size > 0 && Date.now() < until) await this.#anyEnd(until - Date.now());
    for (const turn of this.#turns.values()) turn.giveBack();
    // giving back takes the server's answer
    while (this.#turns.size > 0) await this.#anyEnd(1000);
    await this.#running?.catch(() => {});
    clearInterval(this.#heartbeat);
    this.#database.leave(this);
  }

  // Waits for the end of a turn, or so long.
  #anyEnd(milliseconds) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      this.#waiting.add(done);
    });
  }

  #wake() {
    for (const done of this.#waiting) done();
  }

  async #run() {
    const { signal } = this.#stop;

    for (let attempt = 0; !signal.aborted;) {
      let client = null;
      let lost = true;
      const cancel = () => cancelWait(this.#database, client);

      try {
        client = await this.#database.connect({ until: Infinity, signal });
        signal.addEventListener('abort', cancel);
        while (!signal.aborted) {
          await this.#take(client);
          attempt = 0;
        }
      } catch (error) {
        lost = isConnectionError(error);
        if (!signal.aborted && !lost && !isLostRace(error)) {
          signal.removeEventListener('abort', cancel);
          client?.release(true);
          throw error;
        }
      }
      signal.removeEventListener('abort', cancel);
      // a cancel request may still be on its way to it
      client?.release(lost || signal.aborted);
      await backoff(attempt++, 50, 2000, signal);
    }
  }

  async #take(client) {
    const { concurrency, lease, maxWait, maxMessages = null, name } = this.#options;

    while (this.#turns.size >= concurrency) {
      await this.#anyEnd(1000);
      if (this.#stop.signal.aborted) return;
    }
    if (this.#turns.size > concurrency * 0.75) await this.#anyEnd(gather);
    if (this.#stop.signal.aborted) return;

    const leasedUntil = Date.now() + lease;
    await checkout(client, {
      worker: name,
      actorTypes: [...this.#handlers.keys()],
      maxTurns: Math.min(concurrency - this.#turns.size, mostTurns),
      lease: interval(lease),
      maxWait: interval(maxWait),
      maxMessages,
    }, (rows) => {
      for (const row of rows) {
        // the lease began when the server found the turn, perhaps after a long wait, and not before we asked
        const turn = new Turn(row, leasedUntil);

        this.#turns.set(turn.id, turn);
        this.#handle(turn);
      }
    });
  }

  // Runs a turn and sees it ended; throws nothing.
  async #handle(turn) {
    let outcome;

    try {
      if (this.#stop.signal.aborted) turn.giveBack();
      const result = await turn.run(this.#handlers.get(turn.actorType), this.#options.handlerTimeout);

      outcome = await this.#completions.complete(turn, result);
    } catch (error) {
      outcome = await this.#failed(turn, error);
    }
    this.#turns.delete(turn.id);
    this.#counts.turns++;
    if (outcome === 'done') this.#counts.messages += turn.messages.length;
    else if (outcome !== 'again') this.#counts[outcome]++;
    this.emit('turn', { actorType: turn.actorType, actorId: turn.actorId, messages: turn.messages.length, outcome });
    this.#wake();
  }

  async #failed(turn, error) {
    if (error instanceof TurnLostError && !turn.givenBack) return 'lost';
    const retryAfter = turn.givenBack ? '0' : error instanceof RetryAfter ? interval(error.delay) : undefined;
    const { actorType, actorId } = turn;

    if (retryAfter === undefined) this.emit('failed', error, { actorType, actorId });
    try {
      const outcome = await this.#completions.fail(turn, retryAfter === undefined ? described(error) : null, retryAfter);

      if (outcome !== 'done') return outcome;
      return retryAfter === undefined ? 'failed' : 'again';
    } catch (refused) {
      // the lease runs out, then
      this.emit('failed', refused, { actorType, actorId });
      return 'failed';
    }
  }

  // Leases that end in less than two thirds of their time.
  async #extend() {
    const { lease } = this.#options;
    const now = Date.now();
    const due = [...this.#turns.values()].filter((turn) => turn.leasedUntil - now < lease * 2 / 3);

    if (due.length === 0) return;
    try {
      await this.#extendThese(due);
    } catch (error) {
      if (error.code !== codes.leaseLost) return;       // at the next heartbeat again
      for (const turn of due) {
        try {
          await this.#extendThese([turn]);
        } catch (own) {
          if (own.code === codes.leaseLost) turn.lose();
        }
      }
    }
  }

  async #extendThese(turns) {
    const { lease } = this.#options;
    const until = Date.now() + lease;

    await this.#database.query(`SELECT actorstore.extend_lease(t.turn_id, t.token, $3) FROM unnest($1::bigint[], $2::bigint[]) AS t (turn_id, token)`,
      [turns.map(({ id }) => id), turns.map(({ token }) => token), interval(lease)], { repeat: true });
    for (const turn of turns) turn.leasedUntil = until;
  }
}

// A type's handlers, by message; '*' for any other.
class Handlers {
  #type;
  #byMessage;

  constructor(type, byMessage) {
    this.#type = type;
    this.#byMessage = new Map(Object.entries(byMessage));
    for (const [message, handler] of this.#byMessage) {
      if (typeof handler !== 'function') throw new TypeError(`the handler of ${type}.${message} is no function`);
    }
  }

  find(message) {
    const handler = this.#byMessage.get(message) ?? this.#byMessage.get('*');

    if (handler === undefined) throw new TypeError(`this worker has no handler for ${message} of ${this.#type}`);
    return handler;
  }
}

// What the dead letter is to say.
function described(error) {
  if (!(error instanceof Error)) return `thrown: ${String(error)}`;
  const own = `${error.name}: ${error.message}`;
  const stack = typeof error.stack === 'string' ? error.stack.split('\n').filter((line) => /^\s+at /.test(line)) : [];

  if (error instanceof HandlerTimeoutError || stack.length === 0) return own;
  return [own, ...stack].join('\n').slice(0, shownOfStack);
}
