"""replication.py SLOT [OPTION=VALUE...]: follows a slot with psycopg2 and
prints the LSN and the text of each event. What is printed is acknowledged.
The connection is in PGHOST and so on."""

import json
import sys

import psycopg2
from psycopg2.extras import LogicalReplicationConnection


def consume(message):
    json.loads(message.payload)
    lsn = message.data_start
    print(f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X} {message.payload}", flush=True)
    message.cursor.send_feedback(flush_lsn=lsn, force=True)


sys.stdout.reconfigure(encoding="utf-8")
connection = psycopg2.connect("", connection_factory=LogicalReplicationConnection)
cursor = connection.cursor()
cursor.start_replication(
    slot_name=sys.argv[1],
    options=dict(option.split("=", 1) for option in sys.argv[2:]),
    decode=True,
)
cursor.consume_stream(consume)
