// worker.js TYPE slowly|quickly|exit: counts messages, a line for each; the last line says how many turns were lost.

import { connect } from 'actorstore';

const [type, how] = process.argv.slice(2);
const store = await connect();
let n = 0;
const worker = store.worker({
  [type]: {
    async add(state, body, { actorId }) {
      process.stdout.write(`${actorId}\n`);
      if (how === 'exit' && ++n > 30) process.exit(7);
      if (how === 'slowly') await new Promise((resolve) => { setTimeout(resolve, 20); });
      return (state ?? 0) + 1;
    },
  },
}, { lease: 1500, maxMessages: 2 }).start();

process.once('SIGTERM', async () => {
  await worker.stop();
  process.stdout.write(`lost ${worker.stats.lost}\n`);
  await store.end();
});
