// Ends of turns, on their way to the server: those that come while others are
// on their way go together, as one statement and one commit. If that fails,
// each half goes alone, so that one turn's failure is not another's.

import { codes, isConnectionError, isLostRace } from './errors.js';

const most = 500;                 // turns in a statement

const statements = {
  complete: {
    name: 'actorstore complete',
    text: 'SELECT actorstore.complete_many($1, $2, $3::jsonb[], $4::jsonb[], $5::jsonb[]) AS states',
    columns: (ends) => [
      ends.map(({ turn }) => turn.id), ends.map(({ turn }) => turn.token), ends.map(({ result }) => result.state ?? null),
      ends.map(({ result }) => result.sends ?? null), ends.map(({ result }) => result.replies ?? null)],
  },
  fail: {
    name: 'actorstore fail',
    text: `SELECT array_agg(NULL::text) AS states
      FROM (SELECT actorstore.fail(turn_id, token, error, retry_after::interval)
        FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) AS t (turn_id, token, error, retry_after) OFFSET 0) AS failed`,
    columns: (ends) => [
      ends.map(({ turn }) => turn.id), ends.map(({ turn }) => turn.token), ends.map(({ result }) => result.error ?? null),
      ends.map(({ result }) => result.retryAfter ?? null)],
  },
};

export class Completions {
  #database;
  #queues = { complete: [], fail: [] };
  #busy = { complete: false, fail: false };

  constructor(database) {
    this.#database = database;
  }

  // Both resolve to 'done', 'lost' (the lease has gone to somebody else) or 'again' (the turn will be offered again), or
  // reject with what the server does not accept.
  complete(turn, result) {
    return this.#add('complete', turn, result);
  }

  fail(turn, error, retryAfter) {
    return this.#add('fail', turn, { error, retryAfter });
  }

  #add(kind, turn, result) {
    return new Promise((resolve, reject) => {
      this.#queues[kind].push({ turn, result, resolve, reject });
      if (!this.#busy[kind]) this.#drain(kind);
    });
  }

  async #drain(kind) {
    this.#busy[kind] = true;
    // what ends in the same instant goes along
    await new Promise((resolve) => { setImmediate(resolve); });
    while (this.#queues[kind].length > 0) await this.#flush(kind, this.#queues[kind].splice(0, most));
    this.#busy[kind] = false;
  }

  async #flush(kind, ends) {
    const { name, text, columns } = statements[kind];

    try {
      // an answer that did not arrive is asked for again: the token is used up by then, or it is not
      const { rows: [{ states }] } = await this.#database.query({ name, text }, columns(ends), { repeat: true, lostRaces: false });

      ends.forEach(({ resolve }, i) => resolve(meaning(states[i])));
    } catch (error) {
      if (ends.length > 1 && !isConnectionError(error)) {
        const half = ends.length >> 1;

        await this.#flush(kind, ends.slice(0, half));
        await this.#flush(kind, ends.slice(half));
        return;
      }
      for (const { resolve, reject } of ends) {
        const outcome = isConnectionError(error) ? 'lost' : meaning(error.code);

        if (outcome !== undefined) resolve(outcome);
        else reject(error);
      }
    }
  }
}

function meaning(code) {
  if (code === null) return 'done';
  if (code === codes.leaseLost) return 'lost';
  return isLostRace({ code }) ? 'again' : undefined;
}
