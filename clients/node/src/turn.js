// A turn: the messages of one actor, its state, and the lease under which they
// are ours. The handlers run one after the other, as in turns of their own:
// each gets the state that the last one returned, as JSON tells it, and what
// it does to that object has no effect unless it is returned.

import { HandlerTimeoutError, TurnLostError } from './errors.js';
import { interval } from './verbs.js';

export class Turn {
  id;
  token;
  actorType;
  actorId;
  version;
  messages;
  leasedUntil;           // by our clock
  givenBack = false;
  #lost = null;          // why it is not ours any more
  #onLost = null;        // told to whoever waits for a handler
  #state;                // as text; undefined: the actor has none

  // A row of a checkout (checkout.js).
  constructor([id, token, actorType, actorId, state, version, messages], leasedUntil) {
    this.id = id;
    this.token = token;
    this.actorType = actorType;
    this.actorId = actorId;
    this.version = version === null ? null : Number(version);
    this.messages = JSON.parse(messages);
    this.#state = state ?? undefined;
    this.leasedUntil = leasedUntil;
  }

  // Somebody else may have it by now.
  lose() {
    this.#loseBy(new TurnLostError('the lease has run out'));
  }

  // Nobody waits for its end any more, and somebody else is to have it.
  giveBack() {
    this.givenBack = true;
    this.#loseBy(new TurnLostError('the worker stops'));
  }

  #loseBy(reason) {
    if (this.#lost !== null) return;
    this.#lost = reason;
    this.#onLost?.();
  }

  // What complete() is to be told: { state, sends, replies }, as text, undefined for none. Throws what the handler throws.
  async run(handlers, timeout) {
    const sends = [];
    const replies = {};
    let changed;

    for (const message of this.messages) {
      const handler = handlers.find(message.message);
      const context = new Context(this, message, sends, replies);
      const state = this.#state === undefined ? null : JSON.parse(this.#state);

      if (this.#lost !== null) {
        context.abort(this.#lost);
        throw this.#lost;
      }
      let returned = handler(state, message.body, context);

      if (typeof returned?.then === 'function') returned = await this.#wait(returned, context, timeout);
      if (returned !== undefined) {
        const text = JSON.stringify(returned);

        if (text === undefined) throw new TypeError(`the handler of ${message.message} has returned a ${typeof returned}, which is no JSON`);
        this.#state = text;
        changed = text;
      }
      context.close();
    }
    return {
      state: changed,
      sends: sends.length > 0 ? JSON.stringify(sends) : undefined,
      replies: Object.keys(replies).length > 0 ? JSON.stringify(replies) : undefined,
    };
  }

  // The handler's result; or its time has run out, or the lease, and whatever it still does is of no consequence.
  #wait(result, context, timeout) {
    return new Promise((resolve, reject) => {
      const end = (settle, value) => {
        clearTimeout(timer);
        this.#onLost = null;
        settle(value);
      };
      const give = (error) => {
        context.abort(error);
        end(reject, error);
      };
      const timer = timeout === Infinity ? undefined : setTimeout(() => {
        give(new HandlerTimeoutError(`the handler of ${context.message} has run for ${timeout} ms`));
      }, timeout);

      this.#onLost = () => give(this.#lost);
      // it may have been lost by the handler's first lines: a worker that is stopped
      if (this.#lost !== null) this.#onLost();
      Promise.resolve(result).then((value) => end(resolve, value), (error) => end(reject, error));
    });
  }
}

// What a handler knows of its message, and what it may do.
class Context {
  #turn;
  #message;
  #sends;
  #replies;
  #open = true;
  #controller;           // made when asked for: most handlers do not look

  constructor(turn, message, sends, replies) {
    this.#turn = turn;
    this.#message = message;
    this.#sends = sends;
    this.#replies = replies;
  }

  get actorType() { return this.#turn.actorType; }
  get actorId() { return this.#turn.actorId; }
  // at the start of the turn; null before there is a state
  get version() { return this.#turn.version; }
  get messageId() { return this.#message.message_id; }
  get message() { return this.#message.message; }
  get attempt() { return this.#message.attempt; }
  // does somebody wait for the answer?
  get asked() { return this.#message.ask; }
  get sender() {
    return this.#message.sender_type == null ? null : { actorType: this.#message.sender_type, actorId: this.#message.sender_id };
  }
  get headers() { return this.#message.headers ?? null; }

  // Aborted when the result is no longer wanted: for fetch() and the like.
  get signal() {
    this.#controller ??= new AbortController();
    return this.#controller.signal;
  }

  // Leaves with the turn's state, or not at all.
  send(actorType, actorId, message, body, { priority, delay, deliverAt, dedupKey, headers, expiresAt } = {}) {
    this.#check();
    this.#sends.push({
      actor_type: actorType,
      actor_id: actorId,
      message,
      body,
      priority,
      delay: interval(delay),
      deliver_at: deliverAt,
      dedup_key: dedupKey,
      headers,
      expires_at: expiresAt,
    });
  }

  // The answer to who asks; the last one counts.
  reply(body) {
    this.#check();
    this.#replies[this.#message.message_id] = body === undefined ? null : body;
  }

  #check() {
    if (!this.#open) throw new Error('the handler has ended: its message is done with, or given up');
  }

  abort(reason) {
    this.close();
    this.signal;
    this.#controller.abort(reason);
  }

  close() {
    this.#open = false;
  }
}
