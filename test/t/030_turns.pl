# What a turn is: handlers in several languages, state and version, what
# context() says, and in what order messages are handled.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('turns', settings => "actorstore.priority_aging = 0");
new_database_with_actors($node, 'd');

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }
sub state_of { my ($type, $id) = @_; return sql("SELECT version, value FROM actorstore.get('$type', '$id')"); }

# ---- Languages ----

# A handler in C, in a library of its own.
sub compile
{
	my ($name, $code) = @_;
	my ($pg_config) = grep { -x "$_/../include" || -f && `$_ --pgxs` =~ /(.+)/ && -f $1 } $ENV{PG_CONFIG} // (), map { "$_/pg_config" } split /:/, $ENV{PATH};
	my $directory = PostgreSQL::Test::Utils::tempdir;

	return unless $pg_config;
	chmod 0755, $directory;
	append_to_file("$directory/$name.c", $code);
	my %config = map { chomp(my $value = `$pg_config --$_`); ($_ => $value) } 'cc', 'includedir-server', 'cflags_sl';
	return system("$config{cc} -shared $config{cflags_sl} -I$config{'includedir-server'} $directory/$name.c -o $directory/$name.so") == 0 ? "$directory/$name" : undef;
}

my $library = compile('handler', q{
#include "postgres.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(count_messages);
/* how many messages there were: the state is a number of as many digits */
Datum count_messages(PG_FUNCTION_ARGS)
{
	char	   *old = PG_ARGISNULL(0) ? "" : JsonbToCString(NULL, &PG_GETARG_JSONB_P(0)->root, 0);

	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(psprintf("1%s", old)));
}
});

sql(q{
CREATE FUNCTION in_sql(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN jsonb_build_object('n', coalesce((state->>'n')::int, 0) + 1, 'last', body);
CREATE FUNCTION in_old_sql(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$
	INSERT INTO seen (what) VALUES ('old sql');
	SELECT jsonb_build_object('n', coalesce((state->>'n')::int, 0) + 1, 'last', body);
$$;
CREATE FUNCTION in_plpgsql(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF state IS NULL THEN state := '{"n": 0}'; END IF;
	RETURN jsonb_build_object('n', (state->>'n')::int + 1, 'last', body);
END $$;
});
foreach my $language ('sql', 'old_sql', 'plpgsql', 'python', 'c')
{
	SKIP:
	{
		if ($language eq 'python')
		{
			skip 'there is no PL/Python', 4 unless sql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'plpython3u'});
			sql(q{
				CREATE EXTENSION plpython3u;
				CREATE FUNCTION in_python(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpython3u AS $$
import json
n = 0 if state is None else json.loads(state)["n"]
plpy.execute("INSERT INTO seen (what) VALUES ('python')")
return json.dumps({"n": n + 1, "last": None if body is None else json.loads(body)})
$$});
		}
		elsif ($language eq 'c')
		{
			skip 'no library could be compiled', 4 unless $library;
			sql("CREATE FUNCTION in_c(state jsonb, body jsonb) RETURNS jsonb LANGUAGE c AS '$library', 'count_messages'");
		}
		sql(qq{SELECT actorstore.create_type('$language', max_attempts => 1), actorstore.set_handler('$language', 'count', 'in_$language(jsonb, jsonb)')});
		sql(qq{SELECT actorstore.send('$language', 'a', 'count', to_jsonb(i)) FROM generate_series(1, 3) AS i});
		ok(handled($node, 'd', $language), "$language: handled");
		is(sql(qq{SELECT value FROM actorstore.get('$language', 'a')}), $language eq 'c' ? '111' : '{"n": 3, "last": 3}', "$language: the state");
		sql(qq{SELECT actorstore.send('$language', 'a', 'count')});
		ok(handled($node, 'd', $language), "$language: a body of NULL");
		is(sql(qq{SELECT value FROM actorstore.get('$language', 'a')}), $language eq 'c' ? '111'  : '{"n": 4, "last": null}', "$language: is handled");
	}
}
is(sql(q{SELECT actor_type, error FROM actorstore.dead_letter}), '', 'no dead letters');

# ---- State and version ----

sql(q{
CREATE FUNCTION answer(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (what) SELECT concat_ws('|', c.actor_id, c.message, coalesce(c.version::text, 'none'), c.attempt, coalesce(state::text, 'none'), coalesce(body::text, 'none')) FROM actorstore.context() AS c;
	RETURN CASE WHEN body->>'return' = 'nothing' THEN NULL ELSE body->'return' END;
END $$;
SELECT actorstore.create_type('state'), actorstore.set_handler('state', '*', 'answer(jsonb, jsonb)');
TRUNCATE seen});
my @steps = (
	[ '{"return": "nothing"}', '|', 'none|1|none' ],
	[ '{"return": 1}', '0|1', 'none|1|none' ],
	[ '{"return": 2}', '1|2', '0|1|1' ],
	[ '{"return": "nothing"}', '1|2', '1|1|2' ],
	[ '{"return": null}', '2|null', '1|1|2' ],
	[ '{}', '2|null', '2|1|null' ],
	[ '{"return": {"a": [1]}}', '3|{"a": [1]}', '2|1|null' ]);
foreach my $step (@steps)
{
	my ($body, $after, $context) = @$step;

	sql(qq{SELECT actorstore.send('state', 'a', 'm', '$body')});
	ok(handled($node, 'd', 'state'), "$body: handled");
	is(state_of('state', 'a'), $after, "$body: version and state");
	is(sql(q{SELECT what FROM seen ORDER BY n DESC LIMIT 1}), "a|m|$context|$body", "$body: what the handler saw");
}
sql(q{SELECT actorstore.delete('state', 'a')});
sql(q{SELECT actorstore.send('state', 'a', 'm', '{"return": "new"}')});
ok(handled($node, 'd', 'state'), 'after a delete: handled');
is(state_of('state', 'a'), '0|"new"', 'begins at version 0');
is(sql(q{SELECT what FROM seen ORDER BY n DESC LIMIT 1}), 'a|m|none|1|none|{"return": "new"}', 'without a state');
sql(q{SELECT actorstore.put('state', 'b', '"put"')});
sql(q{SELECT actorstore.send('state', 'b', 'm', '{"return": "sent"}')});
ok(handled($node, 'd', 'state'), 'after a put: handled');
is(state_of('state', 'b'), '1|"sent"', 'goes on from there');

# Many messages in a turn are one version: as many as there were versions seen.
sql(q{TRUNCATE seen; SELECT actorstore.pause('state'); SELECT count(actorstore.send('state', 'many', 'm', jsonb_build_object('return', i))) FROM generate_series(1, 500) AS i; SELECT actorstore.resume('state')});
ok(handled($node, 'd', 'state'), 'many: handled');
is(state_of('state', 'many'), sql(q{SELECT count(DISTINCT split_part(what, '|', 3)) - 1 || '|500' FROM seen}), 'many: a version for each turn');
is(sql(q{SELECT count(*) || ' ' || count(*) FILTER (WHERE split_part(what, '|', 5) <> coalesce(lag, 'none')) FROM (SELECT what, lag(body) OVER (ORDER BY n) FROM (SELECT *, (split_part(what, '|', 6)::jsonb->>'return') AS body FROM seen) AS b) AS s}), '500 0',
	'many: each saw the state of the one before');

# STRICT: not called without a state or a body.
sql(q{
CREATE FUNCTION strictly(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql STRICT RETURN jsonb_build_array(state, body);
SELECT actorstore.create_type('strict'), actorstore.set_handler('strict', '*', 'strictly(jsonb, jsonb)');
SELECT actorstore.send('strict', 'none', 'm', '1'), actorstore.put('strict', 'some', '0') IS NULL;
SELECT actorstore.send('strict', 'some', 'm', NULL), actorstore.send('strict', 'some', 'm', '1'), actorstore.send('strict', 'some', 'm', 'null')});
ok(handled($node, 'd', 'strict'), 'STRICT: handled');
is(sql(q{SELECT actor_id, value FROM actorstore.list('strict')}), 'some|[[0, 1], null]', 'STRICT: called only with both');
is(sql(q{SELECT count(*) FROM actorstore.dead_letter}), 0, 'STRICT: nothing dies of that');

# ---- context(), and who has sent a message ----

sql(q{
TRUNCATE seen;
CREATE FUNCTION forward(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (what) SELECT concat_ws('|', c.actor_type, c.actor_id, c.message, coalesce(c.sender_type, '-'), coalesce(c.sender_id, '-'), coalesce(c.headers::text, '-'),
		c.message_id = (body->>'id')::bigint) FROM actorstore.context() AS c;
	IF body ? 'to' THEN
		PERFORM actorstore.send('forward', body->>'to', 'forwarded', '{}', headers => '{"h": 2}');
		PERFORM actorstore.send_many('forward', ARRAY[body->>'to'], 'forwarded, too', '{"{}"}');
		INSERT INTO orders VALUES (body->>'to');
	END IF;
	RETURN NULL;
END $$;
CREATE TABLE orders (what text);
CREATE FUNCTION send_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM actorstore.send('forward', NEW.what, 'by trigger', '{}'); RETURN NULL; END $$;
CREATE TRIGGER send_on AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION send_on();
SELECT actorstore.create_type('forward'), actorstore.set_handler('forward', '*', 'forward(jsonb, jsonb)');
SELECT actorstore.pause('forward');
SELECT actorstore.send('forward', 'first', 'start', '{"to": "second"}', headers => '{"h": 1}');
INSERT INTO orders VALUES ('third')});
my $id = sql(q{SELECT actorstore.send('forward', 'id', 'start', '{"id": 0}')});
sql(qq{UPDATE actorstore.message SET body = '{"id": $id}' WHERE message_id = $id; SELECT actorstore.resume('forward')});
ok(handled($node, 'd', 'forward'), 'forwarded: handled');
is(sql(q{SELECT string_agg(what, E'\n' ORDER BY what COLLATE "C") FROM seen}), join("\n",
		'forward|first|start|-|-|{"h": 1}',
		'forward|id|start|-|-|-|t',
		'forward|second|by trigger|forward|first|-',
		'forward|second|forwarded, too|forward|first|-',
		'forward|second|forwarded|forward|first|{"h": 2}',
		'forward|third|by trigger|-|-|-'), 'forwarded: each knows who sent it');
is(sql(q{SELECT string_agg(split_part(what, '|', 3), ', ' ORDER BY n) FROM seen WHERE what LIKE 'forward|second%'}), 'forwarded, forwarded, too, by trigger', 'forwarded: in the order of their sends');

# A message finds what its own transaction has done: a handler, a type.
sql("BEGIN; SELECT actorstore.set_handler('state', 'new $_', 'collect(jsonb, jsonb)'), actorstore.send('state', 'new', 'new $_', '$_'); COMMIT") foreach 1 .. 50;
sql("BEGIN; SELECT actorstore.create_type('new $_'); SELECT actorstore.set_handler('new $_', '*', 'collect(jsonb, jsonb)'), actorstore.send('new $_', 'new', 'm', '$_'); COMMIT") foreach 1 .. 20;
ok(handled($node, 'd', 'state') && comes_true($node, 'd', 'NOT EXISTS (SELECT FROM actorstore.message)'), 'made with the message: handled');
is(sql(q{SELECT reason, count(*) FROM actorstore.dead_letter GROUP BY 1}), '', 'made with the message: there for it');
is(sql(q{SELECT jsonb_array_length(value) FROM actorstore.get('state', 'new')}) . ' ' . sql(q{SELECT count(*) FROM actorstore.actor WHERE actor_type LIKE 'new %'}), '50 20', 'made with the message: it answers');
sql(q{SELECT actorstore.purge_dead_letters(actor_type, 'infinity') FROM actorstore.type; SELECT actorstore.drop_type(actor_type) FROM actorstore.type WHERE actor_type LIKE 'new %'});

# ---- Order ----

sql(q{
CREATE TABLE arrived (n bigint GENERATED ALWAYS AS IDENTITY, actor text, client int, transaction int, nth int);
CREATE FUNCTION arrive(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$
	INSERT INTO arrived (actor, client, transaction, nth) SELECT (actorstore.context()).actor_id, (body->>0)::int, (body->>1)::int, (body->>2)::int;
	SELECT to_jsonb(coalesce(state::int, 0) + 1);
$$;
SELECT actorstore.create_type('order'), actorstore.set_handler('order', '*', 'arrive(jsonb, jsonb)')});
my $directory = PostgreSQL::Test::Utils::tempdir;
append_to_file("$directory/script", q{
\set i :i + 1
\set a random(1, 3)
BEGIN;
SELECT actorstore.send('order', :a::text, 'm', jsonb_build_array(:client_id, :i, 1)), actorstore.send('order', 'all', 'm', jsonb_build_array(:client_id, :i, 1));
SELECT actorstore.send_many('order', ARRAY[:a::text, 'all'], 'm', ARRAY[jsonb_build_array(:client_id, :i, 2), jsonb_build_array(:client_id, :i, 2)]);
SAVEPOINT s;
SELECT actorstore.send('order', 'all', 'm', '[0, 0, 0]');
ROLLBACK TO s;
SELECT actorstore.send('order', 'all', 'm', jsonb_build_array(:client_id, :i, 3)), actorstore.send('order', :a::text, 'm', jsonb_build_array(:client_id, :i, 3));
COMMIT;
});
IPC::Run::run([ 'pgbench', '-n', '-c', '6', '-j', '2', '-t', '150', '-D', 'i=0', '-f', "$directory/script", $node->connstr('d') ], '>', \my $out, '2>', \my $err);
ok(handled($node, 'd', 'order'), 'six clients: handled');
is(sql(q{SELECT count(*), count(DISTINCT (actor, client, transaction, nth)) FROM arrived}), 6 * 150 * 6 . '|' . 6 * 150 * 6, 'six clients: each message once');
is(sql(q{SELECT count(*), string_agg(a::text, E'\n') FROM (SELECT *, lag((transaction, nth)) OVER (PARTITION BY actor, client ORDER BY n) AS before FROM arrived) AS a WHERE before >= (transaction, nth)}), q{0|},
	'six clients: in the order of their sends');
is(sql(q{SELECT sum(value::int) FROM actorstore.get_all('order')}), 6 * 150 * 6, 'six clients: and the states say so');

# Sessions that take turns: the order is that of their commits.
sql(q{TRUNCATE arrived});
my @sessions = map { ActorstoreTest::Session->new($node, 'd') } 1 .. 3;
$sessions[ $_ % 3 ]->query(qq{SELECT actorstore.send('order', 'turns', 'm', '[1, $_, 1]')}) foreach 1 .. 150;
$_->quit foreach @sessions;
ok(handled($node, 'd', 'order'), 'in turns: handled');
is(sql(q{SELECT string_agg(transaction::text, ' ' ORDER BY n) FROM arrived}), join(' ', 1 .. 150), 'in turns: as they committed');

# ---- Priorities ----

# An actor that waits for a lock in its first message while others arrive.
sql(q{
CREATE FUNCTION gate(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT pg_advisory_xact_lock(1); SELECT coalesce(state, '[]') || '["gate"]' $$;
SELECT actorstore.create_type('line', backoff => '50 ms', backoff_max => '50 ms', max_attempts => 1000000), actorstore.set_handler('line', '*', 'collect(jsonb, jsonb)'), actorstore.set_handler('line', 'gate', 'gate(jsonb, jsonb)')});
my $gate = ActorstoreTest::Session->new($node, 'd');

sub behind_gate
{
	my ($actor, @sends) = @_;

	$gate->query('SELECT pg_advisory_lock(1)');
	sql(qq{SELECT actorstore.send('line', '$actor', 'gate')});
	ok(comes_true($node, 'd', q{EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)}), "$actor: the gate is shut");
	sql($_) foreach @sends;
	$gate->query('SELECT pg_advisory_unlock(1)');
	ok(handled($node, 'd', 'line'), "$actor: handled");
	return sql(qq{SELECT value FROM actorstore.get('line', '$actor')});
}

my @mixed = (5, 9, 0, 4, 4, 0, 9, 1, 8, 2, 7, 3, 6);
is(behind_gate('priorities', map { "SELECT actorstore.send('line', 'priorities', 'm', '$_', priority => $_)" } @mixed), '["gate", ' . join(', ', sort { $a <=> $b } @mixed) . ']', 'priorities: 0 first, 9 last');
is(behind_gate('first in', map { my $p = $_ % 2 * 9; "SELECT actorstore.send('line', 'first in', 'm', '$_', priority => $p)" } 1 .. 8), '["gate", 2, 4, 6, 8, 1, 3, 5, 7]', 'of a priority: first in, first out');
sql(q{SELECT actorstore.pause('line'); SELECT actorstore.send('line', 'paused', 'm', to_jsonb(p), priority => p) FROM unnest('{5,9,0,4,4,0}'::int[]) AS p; SELECT actorstore.resume('line')});
ok(handled($node, 'd', 'line'), 'paused meanwhile: handled');
is(sql(q{SELECT value FROM actorstore.get('line', 'paused')}), '[0, 0, 4, 4, 5, 9]', 'paused meanwhile: the same');

# Without ageing the last ones wait, with it they do not.
my @aged = (q{SELECT actorstore.send('line', 'aged', 'm', '9', priority => 9)}, 'SELECT pg_sleep(0.5)', map { "SELECT actorstore.send('line', 'aged', 'm', '0', priority => 0)" } 1 .. 3);
is(behind_gate('aged', @aged), '["gate", 0, 0, 0, 9]', 'no ageing: 9 is last');
sql(q{ALTER SYSTEM SET actorstore.priority_aging = '10 ms'; SELECT pg_reload_conf()});
$node->restart;
$gate = ActorstoreTest::Session->new($node, 'd');
sql(q{SELECT actorstore.delete('line', 'aged')});
is(behind_gate('aged', @aged), '["gate", 9, 0, 0, 0]', 'ageing: 9 is first by now');

# A delayed message has not waited before it was due.
sql(q{ALTER SYSTEM SET actorstore.priority_aging = '250 ms'});
$node->restart;
$gate = ActorstoreTest::Session->new($node, 'd');
is(behind_gate('young',
		q{SELECT actorstore.send('line', 'young', 'm', '9', priority => 9, delay => '2500 ms')},
		q{SELECT until('EXISTS (SELECT FROM actorstore.message WHERE priority = 9 AND lane = 9)')},
		q{SELECT actorstore.send('line', 'young', 'm', '0', priority => 0)}), '["gate", 0, 9]', 'delayed: ageing begins when it is due');
sql(q{ALTER SYSTEM RESET actorstore.priority_aging});
$node->restart;
$gate = ActorstoreTest::Session->new($node, 'd');

# ---- Delays ----

sql(q{SELECT actorstore.send('line', 'delay', 'm', '"delayed"', delay => '300 ms'); SELECT actorstore.pause('line'); SELECT actorstore.send('line', 'delay', 'm', '"before"')});
ok(comes_true($node, 'd', q{NOT EXISTS (SELECT FROM actorstore.message WHERE lane >= 16)}), 'delay: it is due');
sql(q{SELECT actorstore.send('line', 'delay', 'm', '"after"'); SELECT actorstore.resume('line')});
ok(handled($node, 'd', 'line'), 'delay: handled');
is(sql(q{SELECT value FROM actorstore.get('line', 'delay')}), '["before", "delayed", "after"]', 'delay: it takes its place when due');

sql(q{
CREATE FUNCTION when_due(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN coalesce(state, '[]') || to_jsonb(clock_timestamp() >= (body->>'at')::timestamptz);
SELECT actorstore.set_handler('line', 'due', 'when_due(jsonb, jsonb)');
SELECT actorstore.send('line', 'due', 'due', jsonb_build_object('at', at), deliver_at => at) FROM (SELECT clock_timestamp() + i * interval '100 ms' AS at FROM unnest('{7,1,5,3}'::int[]) AS i) AS a});
ok(handled($node, 'd', 'line'), 'deliver_at: handled');
is(sql(q{SELECT value FROM actorstore.get('line', 'due')}), '[true, true, true, true]', 'deliver_at: never earlier');

# Many that are due at one moment, of an actor that does not handle them by now, hold up nobody, also where there is room
# beside them, so that they stay in front of the others.
sql(q{
SELECT actorstore.pause('line', 'many');
DO $$
DECLARE
	at timestamptz := clock_timestamp() + interval '3 s';
BEGIN
	FOR i IN 1 .. 2500 LOOP
		PERFORM actorstore.send('line', 'many', 'due', jsonb_build_object('at', at), deliver_at => at);
		PERFORM actorstore.send('line', 'between', 'due', jsonb_build_object('at', now()));
	END LOOP;
	PERFORM actorstore.send('line', 'other', 'due', jsonb_build_object('at', at), deliver_at => at);
END $$});
ok(comes_true($node, 'd', q{NOT EXISTS (SELECT FROM actorstore.message WHERE actor_id = 'between')}), 'what stood between them is handled');
$node->safe_psql('d', 'VACUUM actorstore.message', kept => 0);
ok(comes_true($node, 'd', q{(SELECT value FROM actorstore.get('line', 'other')) = '[true]'}), 'deliver_at: the last of many at one moment');
is(sql(q{SELECT actorstore.resume('line', 'many')}), 't', 'the others go on');
ok(handled($node, 'd', 'line'), 'all are handled');
is(sql(q{SELECT jsonb_array_length(value), value @> '[false]' FROM actorstore.get('line', 'many')}), '2500|f', 'each once, and never earlier');
$node->stop('immediate');
$node->start;
sql(q{SELECT actorstore.send('line', 'crash', 'm', '"delayed"', delay => '1 s')});
$node->stop('immediate');
$node->start;
ok(handled($node, 'd', 'line'), 'a crash meanwhile: handled');
is(state_of('line', 'crash'), '0|["delayed"]', 'a crash meanwhile: once');

# ---- Backoff and retry_after ----

sql(q{
CREATE TABLE broken (is_broken boolean);
INSERT INTO broken VALUES (true);
CREATE SEQUENCE tries;
CREATE FUNCTION fragile(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM nextval('tries');
	IF (SELECT is_broken FROM broken) THEN RAISE EXCEPTION 'broken'; END IF;
	RETURN coalesce(state, '[]') || jsonb_build_array(body, (actorstore.context()).attempt BETWEEN 3 AND currval('tries'));
END $$;
SELECT actorstore.set_handler('line', 'fragile', 'fragile(jsonb, jsonb)');
SELECT actorstore.send('line', 'backoff', 'fragile', '"fragile"')});
ok(comes_true($node, 'd', q{(SELECT attempts > 1 FROM actorstore.mailbox WHERE actor_id = 'backoff')}), 'backoff: it fails again');
sql(qq{SELECT actorstore.send('line', 'backoff', 'm', '$_', priority => $_)}) foreach 4, 5, 3;
sql(q{SELECT actorstore.send('line', 'bystander', 'm', '1')});
ok(comes_true($node, 'd', q{(SELECT count(*) = 2 FROM actorstore.message WHERE actor_id = 'backoff') AND EXISTS (SELECT FROM actorstore.get('line', 'bystander') AS g WHERE g.value = '[1]')}), 'backoff: others go on');
is(sql(q{SELECT string_agg(e, ' ' ORDER BY e) FROM actorstore.get('line', 'backoff') AS g, jsonb_array_elements_text(g.value) AS e}), '3 5', 'backoff: those of other priorities');
sql(q{UPDATE broken SET is_broken = false});
ok(handled($node, 'd', 'line'), 'backoff: handled');
is(sql(q{SELECT value - 0 - 0 FROM actorstore.get('line', 'backoff')}), '["fragile", true, 4]', 'backoff: the one behind it waited; attempts are counted');

sql(q{
CREATE SEQUENCE retries;
CREATE FUNCTION retry(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (what) VALUES ('retry');
	PERFORM actorstore.send('line', 'copy', 'm', '1');
	IF nextval('retries') <= 5 THEN
		PERFORM actorstore.retry_after('20 ms');
	END IF;
	RETURN coalesce(state, '[]') || jsonb_build_array((actorstore.context()).attempt);
END $$;
TRUNCATE seen;
SELECT actorstore.create_type('retry', max_attempts => 2), actorstore.set_handler('retry', 'retry', 'retry(jsonb, jsonb)'), actorstore.set_handler('retry', 'm', 'collect(jsonb, jsonb)');
SELECT actorstore.send('retry', 'a', 'retry'), actorstore.send('retry', 'a', 'm', '"behind"'), actorstore.send('retry', 'a', 'm', '"before"', priority => 0)});
ok(handled($node, 'd', 'retry') && handled($node, 'd', 'line'), 'retry_after: handled');
is(state_of('retry', 'a') =~ s/^\d+\|//r, '["before", 1, "behind"]', 'retry_after: is no attempt, and holds back those behind');
is(sql(q{SELECT count(*) FROM seen}) . ' ' . sql(q{SELECT value FROM actorstore.get('line', 'copy')}), '1 [1]', 'retry_after: what it did is undone');
is(sql(q{SELECT last_value FROM retries}), 6, 'retry_after: it was called as often as it asked');

$gate->quit;
is(sql(q{SELECT count(*) FROM actorstore.dead_letter}), 0, 'no dead letters at all');

# Dedup keys whose time is over do not pile up, also more of them than one transaction deletes.
$node->append_conf('postgresql.conf', "actorstore.dedup_window = '1 s'");
$node->reload;
sql(q{SELECT count(actorstore.send('line', 'keyed', 'm', to_jsonb(i), dedup_key => i::text)) FROM generate_series(1, 2500) AS i});
ok(handled($node, 'd', 'line'), 'dedup: handled');
is(sql(q{SELECT jsonb_array_length(value) FROM actorstore.get('line', 'keyed')}), 2500, 'dedup: each once');
ok(comes_true($node, 'd', q{NOT EXISTS (SELECT FROM actorstore.dedup)}), 'dedup: the keys go when their time is over');

sql(q{
CREATE FUNCTION retry_never(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM actorstore.retry_after('295000 years'); RETURN NULL; END $$;
SELECT actorstore.create_type('never', max_attempts => 1), actorstore.set_handler('never', '*', 'retry_never(jsonb, jsonb)');
SELECT actorstore.send('never', 'a', 'm')});
ok(handled($node, 'd', 'never'), 'retry_after a time that there is not: is given up');
is(sql(q{SELECT reason, sqlstate FROM actorstore.dead_letter}), 'exhausted|22008', 'retry_after a time that there is not: the letter says why');
$node->stop;
done_testing();
