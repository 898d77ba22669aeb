// replication.js SLOT [OPTION=VALUE...]: follows a slot with the package
// pg-logical-replication and prints the LSN and the text of each event.  What
// is printed is acknowledged.  The connection is in PGHOST and so on.
'use strict';
const { LogicalReplicationService } = require('pg-logical-replication');

// All that the package wants of a plugin.
class ActorstorePlugin {
  constructor(options) { this.options = options; }

  start(client, slot, lsn) {
    const options = Object.entries(this.options).map(([name, value]) => `"${name}" ${client.escapeLiteral(value)}`);
    return client.query(`START_REPLICATION SLOT "${slot}" LOGICAL ${lsn} (${options.join(', ')})`);
  }

  parse(message) {
    const text = message.toString();
    return { text, event: JSON.parse(text) };
  }
}

const [slot, ...options] = process.argv.slice(2);
const plugin = new ActorstorePlugin(Object.fromEntries(options.map((option) => option.split(/=(.*)/s))));
// No timer: it acknowledges the byte after a keepalive's LSN, and there a commit may begin.
const service = new LogicalReplicationService({}, { acknowledge: { timeoutSeconds: 0 } });

service.on('data', (lsn, { text, event }) => {
  if (event.new_value === null && event.operation !== 'DELETE') throw new Error(text);
  process.stdout.write(`${lsn} ${text}\n`);
});
service.on('error', (error) => { throw error; });
service.subscribe(plugin, slot);
