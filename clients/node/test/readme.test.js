// The cart of the README, as it stands there.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { outside } from 'actorstore';
import { start, storeFor } from './helper.js';

test('the cart of the README works, in 30 lines', async (t) => {
  const store = await storeFor(t);
  const readme = readFileSync(new URL('../node_modules/actorstore/README.md', import.meta.url), 'utf8');
  const [, program] = /^```js\n(.*?)^```$/ms.exec(readme);

  assert.ok(program.split('\n').filter((line) => line.trim() !== '').length <= 30);
  writeFileSync(new URL('cart.js', import.meta.url), program.replace("'postgres://localhost/shop'", '{}'));
  await store.createType('order');
  await store.setHandler('order', '*', outside);     // nobody does yet: its mail waits
  const cart = start('cart.js');

  assert.equal(await cart.ended, 0, cart.errors);
  assert.deepEqual(cart.lines, ['{ items: { tea: 2 } }', "{ order: 'ada/0' }"]);
  const { rows } = await store.query("SELECT message, body, sender_type FROM actorstore.message WHERE actor_type = 'order'");
  assert.deepEqual(rows, [{ message: 'place', body: { items: { tea: 2 } }, sender_type: 'cart' }]);
});
