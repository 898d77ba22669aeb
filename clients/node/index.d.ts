// Types of the client for actorstore. S is the type of an actor's state.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json | undefined };
/** Milliseconds, or what PostgreSQL reads as an interval: '15 min'. */
export type Interval = number | string;

export interface ConnectOptions {
  connectionString?: string;
  host?: string;
  port?: number;
  database?: string;
  user?: string;
  password?: string | (() => string | Promise<string>);
  ssl?: boolean | object;
  /** Several servers, of which one is the primary: 'host', 'host:port' or { host, port }. */
  hosts?: (string | { host: string; port?: number })[];
  /** Connections at most; 10. Each worker and each consumer holds one of them; a follower has one more. */
  max?: number;
  /** How long a call waits for the server to be there, in milliseconds; 60,000. */
  reconnectTimeout?: number;
  /** How often a lost race (40001, 40P01) is tried again; 20. */
  retries?: number;
  [pgOption: string]: unknown;
}

export interface Actor<S = any> {
  actorType: string;
  actorId: string;
  value: S;
  version: number;
  createdAt: Date;
  updatedAt: Date;
}

export type Pairs<V> = [actorId: string, value: V][] | Map<string, V> | Record<string, V>;

export interface SendOptions {
  /** 0, the first, to 9; 4. */
  priority?: number;
  delay?: Interval;
  deliverAt?: Date | string;
  /** Sent once, however often it is repeated; the client then repeats it by itself when a connection is lost. */
  dedupKey?: string;
  headers?: Record<string, unknown>;
  expiresAt?: Date | string;
}

export interface TypeOptions {
  persistence?: 'logged' | 'unlogged';
  mailboxLimit?: number;
  onFull?: 'error' | 'wait' | 'drop';
  maxAttempts?: number;
  backoff?: string;
  backoffMax?: string;
  turnTimeout?: string;
  onExhausted?: 'dead_letter' | 'restart' | 'pause' | 'stop' | 'escalate';
  [argument: string]: unknown;
}

export interface QueryResult<R = any> {
  rows: R[];
  rowCount: number | null;
  command: string;
}

/** What a store and a transaction have in common. */
export interface Verbs {
  /** Any statement. repeat: it does no harm twice, so send it again after a lost connection. */
  query<R = any>(text: string, values?: unknown[], options?: { repeat?: boolean }): Promise<QueryResult<R>>;

  get<S = any>(actorType: string, actorId: string): Promise<Actor<S> | null>;
  getMany<S = any>(actorType: string, actorIds: string[], options?: { lock?: 'share' | 'update' }): Promise<Actor<S>[]>;
  getAll<S = any>(actorType: string): Promise<Actor<S>[]>;
  list<S = any>(actorType: string, options?: { prefix?: string; after?: string; limit?: number }): Promise<Actor<S>[]>;
  insert<S = any>(actorType: string, actorId: string, value: S): Promise<Actor<S>>;
  update<S = any>(actorType: string, actorId: string, value: S): Promise<Actor<S>>;
  updateVersioned<S = any>(actorType: string, actorId: string, value: S, expectedVersion: number): Promise<Actor<S>>;
  compareAndSwap<S = any>(actorType: string, actorId: string, expectedVersion: number, value: S):
    Promise<{ swapped: boolean; version: number | null; value: S | null }>;
  put<S = any>(actorType: string, actorId: string, value: S): Promise<Actor<S>>;
  /** A merge patch (RFC 7396): null removes. */
  patch<S = any>(actorType: string, actorId: string, patch: unknown): Promise<Actor<S>>;
  delete<S = any>(actorType: string, actorId: string): Promise<Actor<S> | null>;
  deleteVersioned<S = any>(actorType: string, actorId: string, expectedVersion: number): Promise<Actor<S>>;
  insertMany<S = any>(actorType: string, pairs: Pairs<S>): Promise<number>;
  putMany<S = any>(actorType: string, pairs: Pairs<S>): Promise<number>;

  /** The message's id. */
  send(actorType: string, actorId: string, message: string, body?: unknown, options?: SendOptions): Promise<string>;
  /** A message for each pair of actor and body; how many. */
  sendMany(actorType: string, pairs: Pairs<unknown>, message: string): Promise<number>;
  cancel(messageId: string): Promise<boolean>;
  tell(actorType: string, actorId: string, message: string, body?: unknown): Promise<void>;
  ask<A = any>(actorType: string, actorId: string, message: string, body?: unknown, options?: { timeout?: Interval; dedupKey?: string }): Promise<A>;
  call<A = any>(actorType: string, actorId: string, message: string, body?: unknown): Promise<A>;

  setTimer(actorType: string, actorId: string, name: string, message: string, body?: unknown,
    options?: { after?: Interval; at?: Date | string; every?: Interval; missed?: 'once' | 'all' | 'skip' }): Promise<void>;
  cancelTimer(actorType: string, actorId: string, name: string): Promise<boolean>;

  createType(actorType: string, options?: TypeOptions): Promise<void>;
  alterType(actorType: string, options: TypeOptions): Promise<void>;
  dropType(actorType: string, options?: { events?: boolean }): Promise<void>;
  /** A function of the database, or null; `outside` for a handler of a worker. */
  setHandler(actorType: string, message: string, handler: string | null): Promise<void>;
  grantType(actorType: string, role: string, privileges: ('read' | 'write' | 'send' | 'ask' | 'serve')[]): Promise<void>;
  revokeType(actorType: string, role: string, privileges: ('read' | 'write' | 'send' | 'ask' | 'serve')[]): Promise<void>;
  pause(actorType: string, actorId?: string): Promise<void>;
  resume(actorType: string, actorId?: string): Promise<void>;
}

export interface Change<S = any> {
  /** Text order is the order of the commits. */
  sequence: string;
  operation: 'INSERT' | 'UPDATE' | 'DELETE' | 'PERSISTENCE';
  actorType: string;
  actorId: string;
  previousValue: S | null;
  previousVersion: number | null;
  newValue: S | null;
  newVersion: number | null;
  timestamp: string;
  /** With PERSISTENCE: the type's changes end, or begin again, to be told. */
  persistence?: 'logged' | 'unlogged';
}

export interface FollowOptions {
  actorTypes?: string[];
  keyPrefix?: string;
  operations?: ('insert' | 'update' | 'delete')[];
  includePrevious?: boolean;
  /** Leave out what comes up to this sequence: the last one that has been dealt with. */
  after?: string;
  /** Make the slot if it is not there; true. */
  create?: boolean;
  /** When an event counts as dealt with: when the next one is asked for, or by ack(). */
  acknowledge?: 'next' | 'manual';
  signal?: AbortSignal;
}

export interface Follower<S = any> extends AsyncIterableIterator<Change<S>> {
  /** Resolves when the slot is there: later changes will come. */
  start(): Promise<this>;
  ack(sequence: string): void;
  stop(): Promise<void>;
}

export interface ConsumeOptions {
  actorTypes?: string[];
  keyPrefix?: string;
  /** 'now', 'beginning', a sequence, or a time; only for a subscription that is made. */
  startFrom?: string;
  /** Events in a transaction at most; 1000. */
  batch?: number;
  wait?: string;
}

export interface Consumer {
  start(): Promise<this>;
  readonly done: Promise<void> | null;
  stop(): Promise<void>;
}

export interface Context<S = any> {
  readonly actorType: string;
  readonly actorId: string;
  /** At the start of the turn; null before there is a state. */
  readonly version: number | null;
  readonly messageId: string;
  readonly message: string;
  /** 1 for the first. */
  readonly attempt: number;
  readonly sender: { actorType: string; actorId: string } | null;
  readonly headers: Record<string, any> | null;
  /** Does somebody wait for the answer? */
  readonly asked: boolean;
  /** Aborted when the result is no longer wanted. */
  readonly signal: AbortSignal;
  /** Leaves if the turn commits. */
  send(actorType: string, actorId: string, message: string, body?: unknown, options?: SendOptions): void;
  /** For who asks; without one, he gets the new state. */
  reply(body: unknown): void;
}

/** Returns the new state; undefined leaves it as it is. What it does to `state` itself has no effect. */
export type Handler<S = any, B = any> = (state: S | null, body: B, context: Context<S>) => S | undefined | void | Promise<S | undefined | void>;
export type Handlers<S = any> = { [message: string]: Handler<S> };

export interface WorkerOptions {
  name?: string;
  /** Turns in hand at most; 100. */
  concurrency?: number;
  /** Messages in a turn at most; the server's batch_size. */
  maxMessages?: number;
  /** Of a turn, in milliseconds; 30,000. Extended while it runs; what a worker that dies has in hand waits for its end. */
  lease?: number;
  /** Of a message, in milliseconds; 60,000. Infinity: none. */
  handlerTimeout?: number;
  /** Of a checkout that finds nothing, in milliseconds; 5,000. */
  maxWait?: number;
}

export interface Worker {
  start(): this;
  /** Takes no more turns, finishes those in hand, gives back what is not finished in time. */
  stop(options?: { timeout?: number }): Promise<void>;
  readonly done: Promise<void> | null;
  readonly stats: { turns: number; messages: number; failed: number; lost: number; inHand: number };
  on(event: 'turn', listener: (turn: { actorType: string; actorId: string; messages: number; outcome: 'done' | 'failed' | 'lost' | 'again' }) => void): this;
  on(event: 'failed', listener: (error: unknown, actor: { actorType: string; actorId: string }) => void): this;
  off(event: string, listener: (...args: any[]) => void): this;
}

export interface Store extends Verbs {
  transaction<T>(body: (transaction: Verbs) => Promise<T> | T,
    options?: { isolation?: 'READ COMMITTED' | 'REPEATABLE READ' | 'SERIALIZABLE' }): Promise<T>;
  follow<S = any>(slot: string, options?: FollowOptions): Follower<S>;
  consume<S = any>(subscription: string, handler: (events: Change<S>[], transaction: Verbs) => Promise<void> | void, options?: ConsumeOptions): Consumer;
  worker(handlers: { [actorType: string]: Handlers }, options?: WorkerOptions): Worker;
  end(): Promise<void>;
}

export function connect(options?: string | ConnectOptions): Promise<Store>;
export const version: string;
/** For setHandler: the message is handled by a worker, outside the database. */
export const outside: string;
/** SQLSTATEs of the extension's own. */
export const codes: Readonly<Record<'mailboxFull' | 'askTimedOut' | 'waitsOnItself' | 'noHandler' | 'stopped' | 'leaseLost' | 'notTheOwner' | 'noMajority', string>>;
export function isConnectionError(error: unknown): boolean;
export function isLostRace(error: unknown): boolean;

export class VersionError extends Error {}
export class OutcomeUnknownError extends Error {}
export class EventsLostError extends Error {}
export class HandlerTimeoutError extends Error {}
export class TurnLostError extends Error {}
/** Thrown by a handler: undo the turn and try again later, which counts as no attempt. */
export class RetryAfter extends Error {
  constructor(delay: Interval, message?: string);
  readonly delay: Interval;
}
