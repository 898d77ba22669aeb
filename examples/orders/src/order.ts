// The order: what it is, and what it does with its messages.
//
// Paying happens elsewhere: a service over HTTP. It is asked with the order's
// id as its idempotency key, so that a turn that is run again, after a crash of
// ours or of the network, does not pay again.

import { RetryAfter, type Context, type Handlers } from 'actorstore';
import type { Payments } from './payments.js';

export interface Order {
  customer: string;
  amount: number;                // cents
  status: 'open' | 'paid' | 'declined' | 'cancelled';
  receipt?: string;
}

export interface Placed { customer: string; amount: number }

export function orderHandlers(payments: Payments): Handlers<Order> {
  return {
    place(order, { customer, amount }: Placed) {
      if (order) return;          // it is there
      return { customer, amount, status: 'open' };
    },

    async pay(order, _body, context: Context<Order>) {
      if (order?.status !== 'open') return;
      const answer = await payments.charge(context.actorId, order.amount, context.signal);

      switch (answer.result) {
        case 'charged': return { ...order, status: 'paid', receipt: answer.receipt };
        case 'declined': return { ...order, status: 'declined' };
        // later messages of this order wait meanwhile, the timer's among them
        case 'unknown': throw new RetryAfter(100, answer.reason);
      }
    },

    // the timer
    cancel(order) {
      if (order?.status !== 'open') return;
      return { ...order, status: 'cancelled' };
    },
  };
}
