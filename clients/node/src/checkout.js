// The statement that waits for turns. Between its answer and the handler's
// first line stands only what has to: the columns are known, so the server is
// not asked to describe them, and no row is made an object on its way.

import pg from 'pg';

const name = 'actorstore checkout';
const text = `SELECT turn_id, token, actor_type, actor_id, state::text, version, messages
  FROM actorstore.checkout($1, $2, $3, $4, $5, $6)`;

class Checkout extends pg.Query {
  #answer = [];

  prepare(connection) {
    if (!this.hasBeenParsed(connection)) {
      connection.parse({ name, text });
      connection.submittedNamedStatements[name] = text;
    }
    connection.bind({ statement: name, values: this.values });
    connection.execute({});
    connection.sync();
  }

  handleDataRow({ fields }) {
    this.#answer.push(fields);
  }

  handleCommandComplete() {}

  // the turns are ours once their transaction has committed
  handleReadyForQuery() {
    this.callback(null, this.#answer);
  }
}

// Calls take(rows) before anything else that the connection has to do. The
// rows are as the server wrote them: each an array of texts, or null.
export function checkout(client, { worker, actorTypes, maxTurns, lease, maxWait, maxMessages }, take) {
  return new Promise((resolve, reject) => {
    const values = [worker, arrayOf(actorTypes), maxTurns, lease, maxWait, maxMessages].map((value) => (value === null ? null : String(value)));

    client.query(new Checkout({ name, text, values }, (error, rows) => {
      try {
        if (error) throw error;
        resolve(take(rows));
      } catch (reason) {
        reject(reason);
      }
    }));
  });
}

function arrayOf(texts) {
  return `{${texts.map((each) => `"${each.replace(/["\\]/g, '\\$&')}"`).join(',')}}`;
}
