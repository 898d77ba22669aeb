// What the shop knows of the payment service.

export type Answer =
  | { result: 'charged'; receipt: string }
  | { result: 'declined' }
  | { result: 'unknown'; reason: string };

export class Payments {
  constructor(private readonly url: string) {}

  // The same key is charged once, however often this is called.
  async charge(key: string, amount: number, signal: AbortSignal): Promise<Answer> {
    try {
      const response = await fetch(`${this.url}/charges`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': key },
        body: JSON.stringify({ amount }),
        signal: AbortSignal.any([signal, AbortSignal.timeout(10_000)]),
      });
      const body = await response.json() as { receipt?: string };

      if (response.status === 402) return { result: 'declined' };
      if (response.ok && body.receipt !== undefined) return { result: 'charged', receipt: body.receipt };
      return { result: 'unknown', reason: `the payment service says ${response.status}` };
    } catch (error) {
      // it may have been charged, or not: only asking again will tell
      return { result: 'unknown', reason: `no answer from the payment service: ${String(error)}` };
    }
  }
}
