// main.js [ORDERS]: places so many orders, sees them paid or cancelled, and
// keeps a table of them. Killed at any time and started again, it goes on.
//
// The database is that of PGHOST and so on, the payment service at
// PAYMENTS_URL. An order that is not paid UNPAID seconds after it was placed is
// cancelled by a timer: every fifth customer forgets to pay.

import { OutcomeUnknownError, connect, outside, type Change, type Store, type Verbs } from 'actorstore';
import { orderHandlers, type Order } from './order.js';
import { Payments } from './payments.js';

const total = Number(process.argv[2] ?? 200);
const unpaid = Number(process.env.UNPAID ?? 3);
const lease = Number(process.env.LEASE ?? 3);
const url = process.env.PAYMENTS_URL;
if (url === undefined) throw new Error('PAYMENTS_URL is not set');

async function prepare(store: Store): Promise<void> {
  await store.transaction(async (tx) => {
    // one at a time, if several are started together
    await tx.query("SELECT pg_advisory_xact_lock(hashtextextended('examples/orders', 0))");
    const { rowCount } = await tx.query("SELECT FROM actorstore.type WHERE actor_type = 'order'");
    if (rowCount === 0) {
      await tx.createType('order');
      await tx.setHandler('order', '*', outside);
    }
    await tx.query('CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, customer text, amount bigint, status text, receipt text, changed timestamptz)');
  });
}

// The events and the acknowledgement commit together: each is folded in once.
async function fold(events: Change<Order>[], tx: Verbs): Promise<void> {
  for (const { actorId, newValue: order, timestamp } of events) {
    if (order === null) await tx.query('DELETE FROM orders WHERE id = $1', [actorId]);
    else {
      await tx.query(`INSERT INTO orders VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (id) DO UPDATE SET status = excluded.status, receipt = excluded.receipt, changed = excluded.changed`,
        [actorId, order.customer, order.amount, order.status, order.receipt ?? null, timestamp]);
    }
  }
}

// What customers do. Again after a restart: the keys see to it that nothing is done twice.
async function shop(store: Store): Promise<void> {
  for (let n = 1; n <= total; n++) {
    const id = `o-${n}`;
    const forgets = n % 5 === 0;

    await untilKnown(() => store.transaction(async (tx) => {
      await tx.send('order', id, 'place', { customer: `c-${n % 17}`, amount: (n * 7919) % 100_000 + 1 }, { dedupKey: `${id}/place` });
      await tx.setTimer('order', id, 'unpaid', 'cancel', null, { after: `${unpaid} s` });
      if (!forgets) await tx.send('order', id, 'pay', null, { dedupKey: `${id}/pay` });
    }));
  }
}

// The connection was lost at COMMIT: with the same keys it can be done again.
async function untilKnown<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof OutcomeUnknownError)) throw error;
    }
  }
}

async function settled(store: Store): Promise<void> {
  for (;;) {
    const { rows: [row] } = await store.query<{ n: number }>("SELECT count(*)::int AS n FROM orders WHERE status <> 'open'", [], { repeat: true });
    if (row!.n >= total) return;
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
}

const store = await connect();
await prepare(store);
const worker = store.worker({ order: orderHandlers(new Payments(url)) }, { lease: lease * 1000, concurrency: 20, maxMessages: 4 }).start();
const consumer = await store.consume<Order>('orders', fold, { actorTypes: ['order'], startFrom: 'beginning' }).start();

console.log(`placing ${total} orders`);
await Promise.race([shop(store).then(() => settled(store)), worker.done, consumer.done]);

const { rows } = await store.query<{ status: string; n: number; amount: string }>(
  'SELECT status, count(*)::int AS n, sum(amount)::text AS amount FROM orders GROUP BY status ORDER BY status');
for (const { status, n, amount } of rows) console.log(`${status.padEnd(10)}${String(n).padStart(6)}${(Number(amount) / 100).toFixed(2).padStart(14)}`);
await store.end();
