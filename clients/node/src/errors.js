// What can go wrong, and what is worth another try. Errors of the server come
// as `pg` gives them: `code` is the SQLSTATE.

// SQLSTATEs of the extension's own.
export const codes = Object.freeze({
  mailboxFull: 'VA001',
  askTimedOut: 'VA002',
  waitsOnItself: 'VA003',
  noHandler: 'VA004',
  stopped: 'VA005',
  leaseLost: 'VA006',
  notTheOwner: 'VA007',
  noMajority: 'VA009',
});

// The extension in the database is not one that this client can work with.
export class VersionError extends Error {
  name = 'VersionError';
}

// The connection was lost after a statement had been sent and before its
// answer came: it may have taken effect, or not. `cause` is the loss.
export class OutcomeUnknownError extends Error {
  name = 'OutcomeUnknownError';
}

// The slot that a follower reads is gone or has lost events: what happened
// since its last position cannot be told.
export class EventsLostError extends Error {
  name = 'EventsLostError';
}

// Thrown by a handler, or by what it calls, to say what is to become of its
// message.
export class RetryAfter extends Error {
  name = 'RetryAfter';

  constructor(delay, message = 'tried again later') {
    super(message);
    this.delay = delay;
  }
}

// A handler has run for longer than it may.
export class HandlerTimeoutError extends Error {
  name = 'HandlerTimeoutError';
}

// The turn's lease has gone to somebody else, or the worker gives it back.
export class TurnLostError extends Error {
  name = 'TurnLostError';
}

const lostRaces = new Set(['40001', '40P01']);

// Undone as a whole by the server, and may do better next time.
export function isLostRace(error) {
  return lostRaces.has(error?.code);
}

const socketErrors = new Set(['ECONNREFUSED', 'ECONNRESET', 'ECONNABORTED', 'EPIPE', 'ENOENT', 'ETIMEDOUT', 'EHOSTUNREACH',
  'EHOSTDOWN', 'ENETUNREACH', 'ENETDOWN', 'ENOTFOUND', 'EAI_AGAIN', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_WRITE_AFTER_END', 'ESTANDBY']);
// Shut down, crashed, starts up or in recovery; too many clients at the moment.
const serverIsAway = new Set(['57P01', '57P02', '57P03', '57P05', '53300']);
const pgSays = /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error)/;

// There is no server, or no longer, or not this one.
export function isConnectionError(error) {
  if (!(error instanceof Error)) return false;
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.every(isConnectionError);
  const code = error.code;
  // 08006 and the like come from the server, too, about other nodes of a cluster: those have a severity
  if (typeof code === 'string') {
    if (socketErrors.has(code) || serverIsAway.has(code)) return true;
    if (code.startsWith('08') && error.severity === 'FATAL') return true;
  }
  return pgSays.test(error.message);
}

// Waits so long before try number `attempt` (from 0): doubled each time, up to `most`, give or take a half, so that many
// clients do not come at once. Ends early, without an error, when the signal is aborted.
export function backoff(attempt, first, most, signal) {
  const wait = Math.min(most, first * 2 ** Math.min(attempt, 20)) * (0.5 + Math.random());

  return sleep(wait, signal);
}

export function sleep(milliseconds, signal) {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener('abort', done);
  });
}
