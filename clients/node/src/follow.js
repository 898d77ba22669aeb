// Changes by streaming replication, as an async iterator over a slot of the
// output plugin.
//
// The slot keeps the position: what is acknowledged does not come again. A
// transaction counts as dealt with when all of its events are; one that is
// dealt with in part is sent again after a reconnect, without the events that
// this iterator has given already. After a new start of the program it comes
// whole, and `after`, the sequence of the last event dealt with, leaves out
// what was.
//
// What the server sends waits in a queue here; when that is long, the
// connection is not read. Status messages go out all the time, so that the
// server does not take us for dead.

import { setImmediate } from 'node:timers/promises';
import { LogicalReplicationService } from 'pg-logical-replication';
import { EventsLostError, backoff, isConnectionError, sleep } from './errors.js';

const queueLength = 1000;
const statusInterval = 1000;
const slotIsInUse = '55006';
const slotIsGone = '42704';
const slotIsLost = '55000';

export class Follower {
  #database;
  #slot;
  #options;
  #after;
  #manual;
  #queue = [];
  #wanted = null;        // resolves the consumer's wait
  #room = null;          // resolves the server's
  #stop = new AbortController();
  #failure = null;
  #running = null;
  #given = null;         // the event that the consumer has, if it acknowledges by asking for the next

  // What stands between the position and the end of what has come, oldest first: { sequence } of events, { lsn } of commits.
  #open = [];
  #position = 0n;        // all before it is dealt with
  #passed = false;       // an event has come after the stop

  constructor(database, slot, { actorTypes, keyPrefix, operations, includePrevious = true, after, create = true, acknowledge = 'next', signal } = {}) {
    if (acknowledge !== 'next' && acknowledge !== 'manual') throw new TypeError("acknowledge is 'next' or 'manual'");
    this.#database = database;
    this.#slot = slot;
    this.#after = after ?? null;
    this.#manual = acknowledge === 'manual';
    this.#options = { actorTypes, keyPrefix, operations, includePrevious, create };
    signal?.addEventListener('abort', () => this.stop());
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async next() {
    if (this.#given !== null) {
      this.ack(this.#given.sequence);
      this.#given = null;
    }
    this.#running ??= this.#run();
    while (this.#queue.length === 0) {
      if (this.#failure !== null) throw this.#failure;
      if (this.#stop.signal.aborted) {
        await this.#running;
        return { done: true, value: undefined };
      }
      await new Promise((resolve) => { this.#wanted = resolve; });
    }
    const event = this.#queue.shift();

    if (this.#queue.length < queueLength / 2) this.#room?.();
    if (!this.#manual) this.#given = event;
    return { done: false, value: event };
  }

  // Resolves when the slot is there: changes that are committed from now on will come.
  async start() {
    await this.#prepare(false);
    this.#running ??= this.#run();
    return this;
  }

  // The consumer has left its loop: the event that it has is not acknowledged.
  async return() {
    await this.stop();
    return { done: true, value: undefined };
  }

  // All events up to this one are dealt with.
  ack(sequence) {
    while (this.#open.length > 0 && (this.#open[0].lsn !== undefined || this.#open[0].sequence <= sequence)) {
      const { lsn } = this.#open.shift();
      if (lsn !== undefined) this.#position = lsn;
    }
  }

  async stop() {
    this.#stop.abort();
    this.#queue.length = 0;
    this.#wake();
    this.#room?.();
    await this.#running;
  }

  #wake() {
    this.#wanted?.();
    this.#wanted = null;
  }

  async #run() {
    this.#database.enter(this, { holds: false });
    for (let attempt = 0; !this.#stop.signal.aborted;) {
      try {
        await this.#prepare(this.#position > 0n);
        await this.#stream(() => { attempt = 0; });
      } catch (error) {
        if (!this.#stop.signal.aborted && !isConnectionError(error) && error.code !== slotIsInUse) {
          this.#failure = error.code === slotIsGone || error.code === slotIsLost ? eventsLost(this.#slot, error) : error;
          this.#wake();
          break;
        }
        this.#database.nextHost();
      }
      await backoff(attempt++, 50, 2000, this.#stop.signal);
    }
    this.#database.leave(this);
  }

  // Makes the slot if it is not there, and learns where it stands.
  async #prepare(again) {
    const client = await this.#database.connect({ until: Infinity, signal: this.#stop.signal });
    let lost = true;

    try {
      const { rows: [slot] } = await client.query(`SELECT plugin, database, current_database(), wal_status, confirmed_flush_lsn AS position
        FROM pg_replication_slots WHERE slot_name = $1`, [this.#slot]);

      if (slot === undefined) {
        if (again) throw eventsLost(this.#slot);
        if (!this.#options.create) throw new Error(`there is no slot ${this.#slot}`);
        const { rows: [made] } = await client.query("SELECT lsn AS position FROM pg_create_logical_replication_slot($1, 'actorstore')", [this.#slot]);
        this.#position = fromLsn(made.position);
      } else {
        if (slot.plugin !== 'actorstore') throw new TypeError(`the slot ${this.#slot} is one of ${slot.plugin ?? 'physical replication'}`);
        if (slot.database !== slot.current_database) throw new TypeError(`the slot ${this.#slot} is one of the database ${slot.database}`);
        if (slot.wal_status === 'lost') throw eventsLost(this.#slot);
        this.#position = fromLsn(slot.position);
      }
      lost = false;
    } catch (error) {
      lost = isConnectionError(error);
      throw error;
    } finally {
      client.release(lost);
    }
  }

  // One connection's stream, until it breaks or ends.
  async #stream(streaming) {
    const service = new LogicalReplicationService(this.#database.clientOptions,
      { acknowledge: { auto: false, timeoutSeconds: 0 }, flowControl: { enabled: true } });
    let arrived = 0;
    let taken = 0;
    let stopped;
    const broken = new Promise((resolve, reject) => {
      stopped = resolve;
      service.on('error', reject);
      this.#stop.signal.addEventListener('abort', stopped);
    });

    this.#open = this.#queue.map(({ sequence }) => ({ sequence }));
    if (this.#given !== null) this.#open.unshift({ sequence: this.#given.sequence });
    service.on('data', async (lsn, event) => {
      taken++;
      this.#take(event);
      while (this.#queue.length >= queueLength && !this.#stop.signal.aborted) {
        await new Promise((resolve) => { this.#room = resolve; });
      }
    });
    service.on('heartbeat', (lsn, time, respond) => {
      // nothing that was sent before is on its way to the consumer, or with him
      if (arrived === taken && this.#open.length === 0 && !this.#stop.signal.aborted) this.#position = max(this.#position, fromLsn(lsn));
      if (respond) this.#status(service);
    });
    service.on('start', streaming);
    const timer = setInterval(() => this.#status(service), statusInterval);

    try {
      const plugin = new Plugin({ ...this.#options, after: this.#after }, () => { arrived++; });
      const streamed = service.subscribe(plugin, this.#slot, '0/0');
      await Promise.race([streamed, broken]);
      await broken;
      await setImmediate();     // what has arrived is looked at first
      await this.#status(service);
      await finished(service, streamed);
    } finally {
      clearInterval(timer);
      this.#stop.signal.removeEventListener('abort', stopped);
      await quietly(service);
    }
  }

  // After the stop no event is given any more; a commit that nothing but what was given stands before still counts.
  #take(event) {
    if (this.#stop.signal.aborted) {
      this.#passed ||= event.transaction === undefined;
      if (this.#passed) return;
    }
    if (event.transaction === 'COMMIT') {
      const lsn = BigInt(`0x${event.lsn}`);

      if (this.#open.length > 0) this.#open.push({ lsn });
      else this.#position = lsn;
    } else if (event.transaction === undefined) {
      this.#after = event.sequence;
      this.#open.push({ sequence: event.sequence });
      this.#queue.push(camel(event));
      this.#wake();
    }
  }

  // The package acknowledges the byte after what it is told, and there a commit may begin: so it is told the byte before.
  async #status(service) {
    await service.acknowledge(toLsn(this.#position - 1n));
  }
}

function eventsLost(slot, cause) {
  return new EventsLostError(`the slot ${slot} is gone, or has lost events: what has happened since cannot be told`, { cause });
}

// All that the package wants of a plugin.
class Plugin {
  #options;
  #arrived;

  constructor(options, arrived) {
    this.#options = options;
    this.#arrived = arrived;
  }

  start(client, slot, lsn) {
    const { actorTypes, keyPrefix, operations, includePrevious, after } = this.#options;
    const given = {
      actor_types: actorTypes?.map(quoted).join(','),
      key_prefix: keyPrefix,
      operations: operations?.join(',').toLowerCase(),
      include_previous: includePrevious ? 'on' : 'off',
      include_transaction: 'on',
      after: after ?? undefined,
    };
    const list = Object.entries(given).filter(([, value]) => value !== undefined).map(([name, value]) => `"${name}" ${client.escapeLiteral(value)}`);

    return client.query(`START_REPLICATION SLOT ${client.escapeIdentifier(slot)} LOGICAL ${lsn} (${list.join(', ')})`);
  }

  parse(message) {
    this.#arrived();
    return JSON.parse(message.toString());
  }
}

function camel(event) {
  if (event.operation === undefined) {
    return { sequence: event.sequence, operation: 'PERSISTENCE', actorType: event.actor_type, persistence: event.persistence, timestamp: event.timestamp };
  }
  return {
    sequence: event.sequence,
    operation: event.operation,
    actorType: event.actor_type,
    actorId: event.actor_id,
    previousValue: event.previous_value,
    previousVersion: event.previous_version,
    newValue: event.new_value,
    newVersion: event.new_version,
    timestamp: event.timestamp,
  };
}

function quoted(name) {
  return `"${name.replaceAll('"', '""')}"`;
}

function fromLsn(text) {
  const [high, low] = text.split('/').map((part) => BigInt(`0x${part}`));

  return (high << 32n) + low;
}

function toLsn(number) {
  return `${(number >> 32n).toString(16)}/${(number & 0xffffffffn).toString(16)}`.toUpperCase();
}

function max(a, b) {
  return a > b ? a : b;
}

// Lets the server end the stream: who closes a connection over which something is still being sent may take with it
// the last status, unread.
async function finished(service, streamed) {
  service._connection?.endCopyFrom();
  await Promise.race([streamed.catch(() => {}), sleep(2000)]);
}

// A connection that is broken may not end at all.
async function quietly(service) {
  service.removeAllListeners();
  service.on('error', () => {});
  await Promise.race([service.stop().catch(() => {}), sleep(2000)]);
}
