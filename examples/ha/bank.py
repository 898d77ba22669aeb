#!/usr/bin/python3
"""Clients of the bank on two nodes, alpha and beta, and what must be true of it, whatever happened.

bank.py teller GROUP NAME FILE STOP  moves money and writes down in FILE what was acknowledged, until there is a file STOP
bank.py follow GROUP FILE STOP       folds the events of the node's accounts into a table
bank.py check FILE...                compares the two nodes, and what was acknowledged, with each other

They connect by the services `alpha` and `beta`, to whoever is the primary there (see group).
"""
import collections
import itertools
import os
import random
import socket
import sys
import threading
import time

import psycopg2

GROUPS = ('alpha', 'beta')
ACCOUNTS = 100


class Connection:
    """A connection that is made again when it is lost, and cut when an answer takes too long: a server may stand still."""

    def __init__(self, group, user='teller', patience=15):
        self.dsn = f'service={group} user={user}'
        self.patience = patience
        self.conn = None

    def __enter__(self):
        if self.conn is None or self.conn.closed:
            self.conn = psycopg2.connect(self.dsn)
        self.timer = threading.Timer(self.patience, self.cut, [os.dup(self.conn.fileno())])
        self.timer.daemon = True
        self.timer.start()
        return self.conn

    def cut(self, descriptor):
        socket.socket(fileno=os.dup(descriptor)).shutdown(socket.SHUT_RDWR)

    def __exit__(self, kind, error, traceback):
        os.close(self.timer.args[0])
        self.timer.cancel()
        if kind is not None and not self.conn.closed:
            try:
                self.conn.rollback()
            except psycopg2.Error:
                self.conn.close()

    def rows(self, statement, *values):
        with self as conn, conn.cursor() as cursor:
            cursor.execute(statement, values)
            rows = cursor.fetchall()
            self.commit()
        return rows

    def commit(self):
        """A COMMIT whose wait for a standby was ended says so in a WARNING only: that is no acknowledgement."""
        del self.conn.notices[:]
        self.conn.commit()
        if any('WARNING' in notice for notice in self.conn.notices):
            raise psycopg2.OperationalError(self.conn.notices[-1])


def insist(seconds, function, *arguments):
    """What a failover may refuse is tried again."""
    until = time.monotonic() + seconds
    while True:
        try:
            return function(*arguments)
        except psycopg2.Error:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def repeat(file, stop, function):
    while not os.path.exists(stop):
        try:
            function()
        except psycopg2.Error as error:
            print('ERROR', error.pgcode or 'lost', file=file, flush=True)
            time.sleep(0.2)


def teller(group, name, path, stop):
    """The number of a transfer is never used again: what became of one without an answer is not known."""
    connection = Connection(group)
    numbers = itertools.count(time.time_ns())

    def transfer():
        number = next(numbers)
        source, target = random.sample(range(1, ACCOUNTS + 1), 2)
        connection.rows('SELECT bank.transfer(%s, %s, %s, %s, %s)', name, number, f'a{source}', f'a{target}', random.randint(1, 100))
        print(name, number, file=file, flush=True)
        time.sleep(0.01)

    with open(path, 'a') as file:
        repeat(file, stop, transfer)


def follow(group, path, stop):
    """A subscription that a failover has lost is begun anew; so is what was made of its events."""
    connection = Connection(group)

    def subscribe():
        with connection as conn, conn.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM actorstore.stat_subscriptions WHERE subscription = 'accounts'")
            if cursor.fetchone()[0] > 0:
                cursor.execute("SELECT actorstore.unsubscribe('accounts')")
            connection.commit()
            cursor.execute("SELECT actorstore.subscribe('accounts', 'beginning', '{account}')")
            cursor.execute('DELETE FROM bank.followed')
            connection.commit()
        print('subscribed', file=file, flush=True)

    def fold():
        try:
            connection.rows('SELECT bank.follow()')
        except (psycopg2.errors.ObjectNotInPrerequisiteState, psycopg2.errors.UndefinedObject):
            subscribe()

    with open(path, 'a') as file:
        repeat(file, stop, fold)


SETTLED = """
    SELECT NOT EXISTS (SELECT FROM pg_prepared_xacts) AND NOT EXISTS (SELECT FROM actorstore.in_doubt)
        AND NOT EXISTS (SELECT FROM actorstore.outbox) AND NOT EXISTS (SELECT FROM actorstore.message WHERE actor_type = 'book')
        AND (SELECT bool_and(health = 'up') FROM actorstore.stat_peers)"""
AGREE = """
    SELECT count(*) FROM actorstore.actor_account AS a FULL JOIN bank.followed AS f USING (actor_id)
    WHERE (a.value, a.version) IS DISTINCT FROM (f.value, f.version)"""


def wait_for(seconds, function):
    until = time.monotonic() + seconds
    while not function() and time.monotonic() < until:
        time.sleep(0.2)


def check(*paths):
    """What was acknowledged is there; what is there, is there on both nodes; nothing twice."""
    everywhere = [Connection(group, 'postgres', 60) for group in GROUPS]

    def both(statement):
        return [row for connection in everywhere for row in insist(120, connection.rows, statement)]

    acknowledged, errors, subscribed = [], collections.Counter(), 0
    for path in paths:
        with open(path) as file:
            for word, what in ((line + ' ').split()[:2] if ' ' in line else (line.strip(), '') for line in file):
                if word == 'ERROR':
                    errors[what] += 1
                elif word == 'subscribed':
                    subscribed += 1
                else:
                    acknowledged.append((word, int(what)))
    wait_for(300, lambda: all(settled for settled, in both(SETTLED)))
    stop = paths[0] + '.stop'
    followers = [threading.Thread(target=follow, args=(group, os.devnull, stop), daemon=True) for group in GROUPS]
    for follower in followers:
        follower.start()
    wait_for(120, lambda: sum(n for n, in both(AGREE)) == 0)
    with open(stop, 'w'):
        pass

    transfers = collections.Counter(both('SELECT client, number FROM bank.transfer'))
    notes = collections.Counter(both('SELECT client, number FROM bank.note'))
    counted = sum(n for n, in both("SELECT coalesce(sum(value::bigint), 0)::bigint FROM actorstore.actor_book"))
    accounts = both('SELECT actor_id FROM actorstore.actor_account')
    looks = [insist(120, connection.rows, """SELECT count(*), sum((value->>'balance')::bigint)::bigint
        FROM actorstore.get_many('account', ARRAY(SELECT 'a' || n FROM generate_series(1, %s) AS n), lock => 'share')""", ACCOUNTS)[0] for connection in everywhere]
    findings = {
        'acknowledged, and lost': sum(transfer not in transfers for transfer in acknowledged),
        'done twice': sum(n != 1 for n in transfers.values()),
        'transfers without both of their notes': sum(notes[transfer] != 2 for transfer in transfers),
        'notes without their transfer': sum(note not in transfers for note in notes),
        'notes that their books do not count': abs(counted - sum(notes.values())),
        'accounts that are not on one node': abs(len(accounts) - ACCOUNTS) + abs(len(set(accounts)) - ACCOUNTS),
        'nodes that see another sum': sum(look != (ACCOUNTS, 1000 * ACCOUNTS) for look in looks),
        'not settled': sum(not settled for settled, in both(SETTLED)),
        'accounts that are not what their events say': sum(n for n, in both(AGREE)),
    }
    print(f'{len(acknowledged)} transfers were acknowledged, {len(transfers)} are there; {sum(notes.values())} notes were handled; subscribed {subscribed} times')
    print('refused: ' + (', '.join(f'{n} times {code}' for code, n in sorted(errors.items())) or 'none'))
    for what, n in findings.items():
        print(f'{n} {what}')
    sys.exit(any(findings.values()) or not acknowledged)


{'teller': teller, 'follow': follow, 'check': check}[sys.argv[1]](*sys.argv[2:])
