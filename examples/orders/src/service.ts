// service.js LEDGER [DELAY]: a payment service, as unreliable as others. It
// listens on a port of 127.0.0.1 that it prints. What it has charged is in the
// file LEDGER, a line a charge, before it answers, DELAY milliseconds later.
// Of ten calls it refuses one, and drops the connection of another one after
// it has charged. Amounts above 900.00 are declined.
//
//   POST /charges   {"amount": 1234}, with an Idempotency-Key: 200 {"receipt"}, 402 declined, 503 try again
//   GET /charges    [{"key", "amount", "receipt", "asked"}], asked: how often, since it was started

import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

interface Charge { key: string; amount: number; receipt: string }

const mostCharged = 90_000;
const ledger = process.argv[2] ?? 'ledger';
const delay = Number(process.argv[3] ?? 50);
const charges = new Map<string, Charge>();
const asked = new Map<string, number>();
let calls = 0;

if (existsSync(ledger)) {
  for (const line of readFileSync(ledger, 'utf8').split('\n').filter(Boolean)) {
    const charge = JSON.parse(line) as Charge;
    charges.set(charge.key, charge);
  }
}

function charge(key: string, amount: number): Charge {
  const known = charges.get(key);
  if (known) return known;
  const made = { key, amount, receipt: `r-${charges.size + 1}` };

  appendFileSync(ledger, `${JSON.stringify(made)}\n`, { flush: true } as object);
  charges.set(key, made);
  return made;
}

async function body(request: IncomingMessage): Promise<{ amount?: unknown }> {
  let text = '';
  for await (const part of request.setEncoding('utf8')) text += part;
  return JSON.parse(text) as { amount?: unknown };
}

function answer(response: ServerResponse, status: number, content: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(content));
}

async function post(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const key = request.headers['idempotency-key'];
  const { amount } = await body(request);

  if (typeof key !== 'string' || !Number.isSafeInteger(amount) || (amount as number) <= 0) return answer(response, 400, { error: 'a key and an amount, please' });
  asked.set(key, (asked.get(key) ?? 0) + 1);
  calls++;
  if (calls % 10 === 3) return answer(response, 503, { error: 'try again' });
  if ((amount as number) > mostCharged) return answer(response, 402, { error: 'declined' });

  const { receipt } = charge(key, amount as number);
  await new Promise((resolve) => { setTimeout(resolve, delay); });
  if (calls % 10 === 7) request.socket.destroy();
  else answer(response, 200, { receipt });
}

const server = createServer((request, response) => {
  const route = `${request.method} ${request.url}`;

  if (route === 'GET /charges') answer(response, 200, [...charges.values()].map((made) => ({ ...made, asked: asked.get(made.key) ?? 0 })));
  else if (route === 'POST /charges') post(request, response).catch((error: unknown) => { response.destroy(error as Error); });
  else answer(response, 404, { error: 'no such thing' });
});

server.listen(0, '127.0.0.1', () => {
  console.log((server.address() as AddressInfo).port);
});
