// server.js [PORT]: serves the page, and tells it of the airports: all of them
// when it asks, then what changes, as server-sent events. The database is that
// of PGHOST and so on; the role needs REPLICATION and may read airports.
//
// It keeps a copy of the airports, from one read and the change stream since
// before that read. What the read has seen already comes again, and the last
// change of each airport is the newest either way.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { connect, EventsLostError } from 'actorstore';

const type = 'airport';
const slot = 'board';
const every = 100;               // milliseconds between two messages to a page
const files = { '/': ['index.html', 'text/html'], '/board.js': ['board.js', 'text/javascript'], '/board.css': ['board.css', 'text/css'] };

const airports = new Map();      // id => state
const pages = new Set();         // responses that stay open
let changed = new Set();         // ids, since the pages were told
let follower = null;

// ---- The airports ----

// False if it is in use, or by a server process that is going away.
async function dropSlot(store) {
  await store.query('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active', [slot], { repeat: true });
  return (await store.query('SELECT FROM pg_replication_slots WHERE slot_name = $1', [slot], { repeat: true })).rowCount === 0;
}

async function follow(store) {
  await dropSlot(store);         // an earlier board's: what has happened since then is in the read
  follower = await store.follow(slot, { actorTypes: [type], includePrevious: false }).start();

  airports.clear();
  for (const { actorId, value } of await store.getAll(type)) airports.set(actorId, value);
  for (const page of pages) tell(page, 'all', Object.fromEntries(airports));
  for await (const { operation, actorId, newValue } of follower) {
    if (operation === 'DELETE') airports.delete(actorId);
    else if (operation !== 'PERSISTENCE') airports.set(actorId, newValue);
    changed.add(actorId);
  }
}

async function followForEver(store) {
  for (;;) {
    try {
      await follow(store);
      return;
    } catch (error) {
      if (!(error instanceof EventsLostError)) throw error;
    }
  }
}

// ---- The pages ----

function tell(page, event, data) {
  page.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

function tellAll() {
  if (changed.size === 0) return;
  const news = Object.fromEntries([...changed].map((id) => [id, airports.get(id) ?? null]));

  changed = new Set();
  for (const page of pages) tell(page, 'changes', news);
}

async function answer(request, response) {
  if (request.url === '/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    tell(response, 'all', Object.fromEntries(airports));
    pages.add(response);
    request.on('close', () => pages.delete(response));
    return;
  }
  const file = files[request.url];

  if (file === undefined || request.method !== 'GET') {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { 'content-type': `${file[1]}; charset=utf-8`, 'content-security-policy': "default-src 'self'" })
    .end(await readFile(new URL(file[0], import.meta.url)));
}

const store = await connect({ reconnectTimeout: 600_000 });
const server = createServer((request, response) => {
  answer(request, response).catch(() => response.destroy());
});
const following = followForEver(store);
const timer = setInterval(tellAll, every);

let stopping = false;

async function stop() {
  if (stopping) return;
  stopping = true;
  clearInterval(timer);
  server.close();
  for (const page of pages) page.end();
  await follower?.stop();
  for (let tries = 0; tries < 100 && !(await dropSlot(store)); tries++) await new Promise((resolve) => { setTimeout(resolve, 20); });
  await store.end();
}

process.on('SIGTERM', stop);
process.on('SIGINT', stop);
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/`));
await following;
