// Compiles, or does not, as it says: types.test.js asks tsc.

import { RetryAfter, codes, connect, outside } from 'actorstore';
import type { Actor, Change, Context, Handlers, Store, Verbs } from 'actorstore';

interface Cart { items: Record<string, number> }

const handlers: Handlers<Cart> = {
  add(cart, { item, n }: { item: string; n: number }, context: Context<Cart>) {
    if (context.attempt > 3) throw new RetryAfter('1 min');
    context.send('log', context.actorId, 'note', { item }, { delay: 5, priority: 0, deliverAt: new Date() });
    return { items: { ...cart?.items, [item]: n } };
  },
  async look(cart, body, context) { context.reply(cart?.items ?? null); },
  // @ts-expect-error: no cart
  spoil: () => ({ items: 7 }),
};

export async function use(): Promise<void> {
  const store: Store = await connect({ hosts: ['a', { host: 'b', port: 1 }], max: 3, statement_timeout: 1000 });
  const cart: Actor<Cart> | null = await store.get<Cart>('cart', 'c');
  // @ts-expect-error: may be null
  cart.value;
  const n: number | undefined = cart?.value.items.tea;
  const moved = await store.transaction(async (tx: Verbs) => (await tx.compareAndSwap<Cart>('cart', 'c', 3, { items: { tea: n ?? 1 } })).swapped);
  const yes: boolean = moved;
  // @ts-expect-error: no such lock
  await store.getMany('cart', ['c'], { lock: 'exclusive' });
  const id: string = await store.send('cart', 'c', 'add', { yes }, { dedupKey: 'k' });
  await store.cancel(id);
  await store.setHandler('cart', '*', outside);
  const worker = store.worker({ cart: handlers }, { concurrency: 10 }).start();
  worker.on('turn', ({ outcome }) => { if (outcome === 'lost') return; });
  for await (const event of store.follow<Cart>('slot', { operations: ['insert'] })) {
    const change: Change<Cart> = event;
    if (change.newValue?.items.tea === 1) break;
  }
  const consumer = await store.consume<Cart>('s', async (events, tx) => { await tx.query('SELECT $1', [events[0].sequence]); }).start();
  await consumer.stop();
  await worker.stop({ timeout: 1 });
  const code: string = codes.mailboxFull;
  // @ts-expect-error: no such code
  codes.nothing;
  if (code) await store.end();
}
