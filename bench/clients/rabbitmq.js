// rabbitmq.js VERB: RabbitMQ in bench/remote.sh. AMQP_URL says where it is, PGHOST and so on where the counters are.
//
//   prepare           makes the queue, durable and empty
//   produce SECONDS   sends persistent messages in batches of 100, up to 1,000 not yet confirmed; prints how many were confirmed
//   work              counts them, up to 1,000 in one UPDATE, acknowledged after its COMMIT, until SIGTERM
//   left              prints how many are in the queue
'use strict';
const amqp = require('amqplib');
const { Client } = require('pg');

const queue = 'bench';
const actors = 1000;
const unconfirmed = 1000;
const atOnce = 1000;

async function withChannel(confirm, work) {
  const connection = await amqp.connect(process.env.AMQP_URL, { noDelay: true });
  const channel = await (confirm ? connection.createConfirmChannel() : connection.createChannel());
  const result = await work(channel);

  await channel.close();
  await connection.close();
  return result;
}

const bodies = Array.from({ length: 10000 }, (_, number) => Buffer.from(JSON.stringify(
  { number, customer: 'c4ca4238a0b923820dcc509a6f75849b', note: 'leave at the door' })));

async function produce(channel, seconds) {
  const end = Date.now() + seconds * 1000;
  let sent = 0;
  let confirmed = 0;
  let wake = null;
  const onConfirm = (error) => {
    if (error) throw error;
    confirmed++;
    if (wake && sent - confirmed <= unconfirmed - 100) wake();
  };

  while (Date.now() < end) {
    for (let i = 0; i < 100; i++, sent++) {
      channel.publish('', queue, bodies[sent % bodies.length],
        { persistent: true, messageId: String(1 + Math.floor(Math.random() * actors)) }, onConfirm);
    }
    if (sent - confirmed > unconfirmed - 100) await new Promise((resolve) => { wake = resolve; });
    else await new Promise(setImmediate);
    wake = null;
  }
  await channel.waitForConfirms();
  return confirmed;
}

async function work(channel) {
  const client = new Client();
  let waiting = [];
  let wake = null;
  let ends = false;

  process.once('SIGTERM', () => { ends = true; if (wake) wake(); });
  await client.connect();
  await channel.prefetch(2 * atOnce);
  await channel.consume(queue, (message) => { waiting.push(message); if (wake) wake(); });
  while (!ends) {
    if (waiting.length === 0) {
      await new Promise((resolve) => { wake = resolve; });
      wake = null;
      continue;
    }
    const some = waiting.splice(0, atOnce);
    const counts = new Map();

    for (const { properties: { messageId } } of some) counts.set(messageId, (counts.get(messageId) || 0) + 1);
    await client.query({
      name: 'count',
      text: 'UPDATE counter AS c SET n = c.n + u.n FROM unnest($1::text[], $2::bigint[]) AS u (id, n) WHERE c.id = u.id',
      values: [[...counts.keys()], [...counts.values()]],
    });
    channel.ack(some[some.length - 1], true);
  }
  await client.end();
}

const verbs = {
  prepare: () => withChannel(false, async (channel) => {
    await channel.assertQueue(queue, { durable: true });
    await channel.purgeQueue(queue);
  }),
  produce: async () => console.log(await withChannel(true, (channel) => produce(channel, Number(process.argv[3])))),
  work: () => withChannel(false, work),
  left: async () => console.log(await withChannel(false, async (channel) => (await channel.checkQueue(queue)).messageCount)),
};

verbs[process.argv[2]]().catch((error) => {
  console.error(error);
  process.exit(1);
});
