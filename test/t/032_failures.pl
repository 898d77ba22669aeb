# Messages that fail, expire, are rejected or find nobody; actors that stop;
# handlers that misbehave; mailboxes that are full; crashes.  What is counted,
# and that every effect happens once or not at all.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('failures', settings => "actorstore.workers = 2\nactorstore.worker_memory_limit = '200MB'");
new_database_with_actors($node, 'd');

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }
my $letter = q{SELECT reason, sqlstate, error, detail, attempts FROM actorstore.dead_letter WHERE actor_type = };

# ---- Exhausted ----

sql(q{
CREATE TABLE effect (what text);
CREATE SEQUENCE calls;
CREATE FUNCTION fail(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM nextval('calls');
	INSERT INTO effect VALUES ('failed');
	PERFORM actorstore.send('good', 'a', 'm', '"never"');
	RAISE EXCEPTION 'no, % and %', state, body USING ERRCODE = 'ZZ123', DETAIL = 'the detail', HINT = 'the hint';
END $$;
CREATE FUNCTION good(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO effect SELECT body::text; SELECT coalesce(state, '[]') || jsonb_build_array(body) $$;
SELECT actorstore.create_type('good'), actorstore.set_handler('good', '*', 'good(jsonb, jsonb)');
SELECT actorstore.create_type('bad', max_attempts => 3, backoff => '10 ms'), actorstore.set_handler('bad', '*', 'good(jsonb, jsonb)'), actorstore.set_handler('bad', 'fail', 'fail(jsonb, jsonb)');
SELECT actorstore.send('bad', 'a', 'm', '1')});
ok(handled($node, 'd', 'bad'), 'a good one: handled');
sql(q{SELECT actorstore.send('bad', 'a', 'fail', '2', headers => '{"h": 1}', priority => 6, dedup_key => 'k')});
ok(handled($node, 'd', 'bad'), 'exhausted: given up');
is(sql("$letter 'bad'"), 'exhausted|ZZ123|no, [1] and 2|the detail|3', 'exhausted: the dead letter');
is(sql(q{SELECT actor_id, message, body, headers, priority, sender_type, dedup_key, died_at >= sent_at FROM actorstore.dead_letter}), 'a|fail|2|{"h": 1}|6||k|t', 'exhausted: it is the message');
like(sql(q{SELECT context FROM actorstore.dead_letter}), qr/PL\/pgSQL function fail.*line 6 at RAISE\nmessage \d+ \(fail\) to actor \(bad, a\), attempt 3/s, 'exhausted: where');
is(sql(q{SELECT last_value FROM calls}), 3, 'exhausted: called so often');
is(sql(q{SELECT * FROM effect}), 1, 'exhausted: without any effect');
is(sql(q{SELECT value FROM actorstore.get('bad', 'a')}), '[1]', 'exhausted: nor on the state');

# In a batch with good ones: those are handled once, the bad ones die, in any place.
sql(q{TRUNCATE effect; SELECT actorstore.purge_dead_letters('bad', 'infinity'); SELECT actorstore.pause('bad');
	SELECT actorstore.send('bad', (i % 3)::text, CASE WHEN i % 11 = 5 THEN 'fail' ELSE 'm' END, to_jsonb(i)) FROM generate_series(1, 300) AS i;
	SELECT actorstore.resume('bad')});
ok(handled($node, 'd', 'bad'), 'a batch: handled');
is(sql(q{SELECT count(*), count(DISTINCT what), count(*) FILTER (WHERE what = 'failed') FROM effect}), '273|273|0', 'a batch: effects of the good ones, once each');
is(sql(q{SELECT count(*), sum(body::int) = (SELECT sum(i) FROM generate_series(5, 300, 11) AS i) FROM actorstore.dead_letter WHERE sqlstate = 'ZZ123' AND attempts = 3}), '27|t', 'a batch: the bad ones are dead');
is(sql(q{SELECT count(*) FROM (SELECT e::int, lag(e::int) OVER (PARTITION BY actor_id ORDER BY n) AS before FROM actorstore.get_all('bad') AS a, jsonb_array_elements(value) WITH ORDINALITY AS x (e, n) WHERE actor_id <> 'a') AS s WHERE before >= e}), 0, 'a batch: in order');
is(sql(q{SELECT sum(jsonb_array_length(value)) FROM actorstore.get_all('bad') WHERE actor_id <> 'a'}), 273, 'a batch: as the states say');
is(sql(q{SELECT count(*) FROM actorstore.get('good', 'a') WHERE actor_id IS NOT NULL}), 0, 'a batch: what failing ones have sent was never sent');

# ---- No handler, expired, rejected ----

sql(q{SELECT actorstore.create_type('none'); SELECT actorstore.send('none', 'a', 'who?')});
ok(handled($node, 'd', 'none'), 'no handler: given up');
is(sql("$letter 'none'"), 'no handler|VA004|actor type "none" has no handler for message "who?"||0', 'no handler: the dead letter');
sql(q{SELECT actorstore.send('good', 'expiring', 'm', '1', expires_at => now() - interval '1 s'), actorstore.send('good', 'expiring', 'm', '2', expires_at => now() + interval '1 h')});
ok(handled($node, 'd', 'good'), 'expired: given up');
is(sql("$letter 'good'") . sql(q{SELECT value FROM actorstore.get('good', 'expiring')}), 'expired||||0[2]', 'expired: the dead letter');
sql(q{
CREATE FUNCTION reject(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effect VALUES ('rejected');
	PERFORM actorstore.send('good', 'rejected', 'm', '1');
	PERFORM actorstore.reject(body->>'why');
	RETURN '"rejected"';
END $$;
SELECT actorstore.create_type('reject'), actorstore.set_handler('reject', 'reject', 'reject(jsonb, jsonb)'), actorstore.set_handler('reject', 'm', 'good(jsonb, jsonb)');
TRUNCATE effect;
SELECT actorstore.send('reject', 'a', 'm', '1'), actorstore.send('reject', 'a', 'reject', '{"why": "because"}'), actorstore.send('reject', 'a', 'm', '2'), actorstore.send('reject', 'a', 'reject', '{}')});
ok(handled($node, 'd', 'reject'), 'reject: handled');
is(sql("$letter 'reject' ORDER BY message_id"), "rejected||because||1\nrejected||||1", 'reject: the dead letters, at once');
is(sql(q{SELECT string_agg(what, ' ') FROM effect}) . sql(q{SELECT value FROM actorstore.get('reject', 'a')}), '1 2[1, 2]', 'reject: its effects are undone, others are not');

# ---- stop and spawn ----

sql(q{
CREATE FUNCTION stopping(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM actorstore.stop('enough');
	RETURN coalesce(state, '[]') || '["last"]';
END $$;
CREATE FUNCTION spawning(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM actorstore.spawn('stop', body->>'id', body->'state'); RETURN NULL; END $$;
SELECT actorstore.create_type('stop', max_attempts => 1), actorstore.set_handler('stop', 'stop', 'stopping(jsonb, jsonb)'), actorstore.set_handler('stop', 'm', 'collect(jsonb, jsonb)'), actorstore.set_handler('stop', 'spawn', 'spawning(jsonb, jsonb)');
SELECT actorstore.pause('stop');
SELECT actorstore.send('stop', 'a', 'm', '1'), actorstore.send('stop', 'a', 'stop'), actorstore.send('stop', 'a', 'm', '2'), actorstore.send('stop', 'a', 'm', '3', priority => 9), actorstore.send('stop', 'b', 'm', '1');
SELECT actorstore.resume('stop')});
ok(handled($node, 'd', 'stop'), 'stop: handled');
is(sql(q{SELECT actor_id, value FROM actorstore.list('stop')}), qq{a|[1, "last"]\nb|[1]}, 'stop: nothing is handled behind it');
is(sql(q{SELECT actor_id, body, reason, sqlstate, attempts FROM actorstore.dead_letter WHERE actor_type = 'stop' ORDER BY message_id}), "a|2|stopped|VA005|0\na|3|stopped|VA005|0", 'stop: what waited is dead');
is(sql(q{SELECT actor_id, stopped, reason FROM actorstore.halted}), 'a|t|enough', 'stop: it is stopped');
is(sqlstate($node, 'd', q{SELECT actorstore.pause('stop', 'a')}), 'VA005', 'stop: it cannot be paused');
sql(q{SELECT actorstore.send('stop', 'b', 'spawn', '{"id": "a", "state": ["new"]}'), actorstore.send('stop', 'b', 'spawn', '{"id": "c", "state": ["born"]}')});
ok(handled($node, 'd', 'stop'), 'spawn: handled');
sql(q{SELECT actorstore.send('stop', id, 'm', '4') FROM unnest('{a,b,c}'::text[]) AS id; SELECT actorstore.send('stop', 'b', 'spawn', '{"id": "a", "state": ["again"]}')});
ok(handled($node, 'd', 'stop'), 'spawn: and goes on');
is(sql(q{SELECT actor_id, value FROM actorstore.list('stop')}), qq{a|["new", 4]\nb|[1, 4]\nc|["born", 4]}, 'spawn: the states');
is(sql(q{SELECT message, sqlstate FROM actorstore.dead_letter WHERE actor_type = 'stop' AND reason = 'exhausted'}), 'spawn|23505', 'spawn: not where somebody lives');
sql(q{SELECT actorstore.send('stop', 'c', 'stop')});
ok(handled($node, 'd', 'stop'), 'stopped');
is(sql(q{SELECT actorstore.resume('stop', 'c'), actorstore.resume('stop', 'c'); SELECT actorstore.send('stop', 'c', 'm', '5') > 0}), "t|f\nt", 'resume');
ok(handled($node, 'd', 'stop'), 'resumed');
is(sql(q{SELECT value FROM actorstore.get('stop', 'c')}), '["born", 4, "last", 5]', 'resume: it goes on');

# ---- Who is halted, for those who have looked before ----

my $looker = ActorstoreTest::Session->new($node, 'd');
sub looks { return join ' ', map { $looker->query("SELECT actorstore.call('seen', '$_', 'm', '1') IS NOT NULL") =~ s/ERROR:  //r } 'a', 'b'; }
sub is_seen
{
	my ($sql, $expected, $name) = @_;

	$node->safe_psql('d', $sql, kept => 0);
	is(looks(), $expected, $name);
	return;
}
sql(q{SELECT actorstore.create_type('seen'), actorstore.set_handler('seen', 'm', 'collect(jsonb, jsonb)')});
is(looks(), 't t', 'seen: nobody is halted');
is_seen(q{SELECT actorstore.pause('seen', 'a')}, 'VA005 t', 'seen: one is paused');
is_seen(q{SELECT actorstore.pause('seen', 'b')}, 'VA005 VA005', 'seen: and another one');
is_seen(q{SELECT actorstore.resume('seen', 'a')}, 't VA005', 'seen: one goes on');
is_seen(q{BEGIN; SELECT actorstore.pause('seen', 'a'); ROLLBACK}, 't VA005', 'seen: what was rolled back');
is_seen(q{SELECT actorstore.pause('seen')}, 'VA005 VA005', 'seen: the type is paused');
is_seen(q{DELETE FROM actorstore.halted WHERE actor_id IN ('', 'b')}, 't t', 'seen: by hand');
is_seen(q{INSERT INTO actorstore.halted (actor_type, actor_id, stopped) VALUES ('seen', 'b', true)}, 't VA005', 'seen: by hand, stopped');
is_seen(q{TRUNCATE actorstore.halted}, 't t', 'seen: nobody any more');
is($looker->query(q{BEGIN; SELECT actorstore.pause('seen', 'a')}) . looks(), 'VA005 25P02', 'seen: in the transaction itself');
$looker->query('ROLLBACK');
is(looks(), 't t', 'seen: which is rolled back');
$looker->quit;

# ---- Conflicts are no attempts ----

sql(q{
CREATE SEQUENCE conflicts;
CREATE FUNCTION conflict(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF nextval('conflicts') % 5 <> 0 THEN RAISE EXCEPTION 'in the way' USING ERRCODE = body #>> '{}'; END IF;
	RETURN coalesce(state, '[]') || to_jsonb((actorstore.context()).attempt);
END $$;
SELECT actorstore.create_type('conflict', max_attempts => 1), actorstore.set_handler('conflict', '*', 'conflict(jsonb, jsonb)');
SELECT actorstore.send('conflict', 'a', 'm', to_jsonb(s)) FROM unnest('{40001,40P01,40001}'::text[]) AS s});
ok(handled($node, 'd', 'conflict'), 'conflicts: handled');
is(sql(q{SELECT value, (SELECT count(*) FROM actorstore.dead_letter WHERE actor_type = 'conflict') FROM actorstore.get('conflict', 'a')}), '[1, 1, 1]|0', 'conflicts: are not counted');

# ---- Handlers that misbehave ----

sql(q{
CREATE TABLE put_off (i int);
CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1000); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER sleep AFTER INSERT ON put_off DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleep();
CREATE FUNCTION misbehave(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	t text := 'x';
BEGIN
	CASE body #>> '{}'
		WHEN 'loop' THEN LOOP END LOOP;
		WHEN 'sleep' THEN PERFORM pg_sleep(1000);
		WHEN 'stubborn' THEN
			LOOP
				BEGIN
					PERFORM pg_sleep(1000);
				EXCEPTION WHEN query_canceled THEN NULL;
				END;
			END LOOP;
		WHEN 'cancel' THEN PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(1000);
		WHEN 'terminate' THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1000);
		WHEN 'allocate' THEN LOOP t := t || repeat(md5(random()::text), 1000000); END LOOP;
		WHEN 'recurse' THEN RETURN misbehave(state, body);
		WHEN 'large' THEN RETURN to_jsonb(repeat('x', 11 * 1024 * 1024));
		WHEN 'far' THEN PERFORM actorstore.send('good', 'a', 'm', delay => '-1 s');
		WHEN 'defer' THEN INSERT INTO put_off VALUES (1);
		WHEN 'itself' THEN PERFORM actorstore.send((actorstore.context()).actor_type, 'itself', 'm', '"fine"');
		ELSE NULL;
	END CASE;
	RETURN coalesce(state, '[]') || jsonb_build_array(body);
END $$;
SELECT actorstore.create_type('misbehave', max_attempts => 2, backoff => '10 ms', turn_timeout => '300 ms'), actorstore.set_handler('misbehave', '*', 'misbehave(jsonb, jsonb)')});
my %fate = (
	defer => 'exhausted|57014|2',
	loop => 'exhausted|57014|2', sleep => 'exhausted|57014|2', cancel => 'exhausted|57014|2', allocate => 'exhausted|53200|2', recurse => 'exhausted|54001|2', large => 'exhausted|54000|2',
	far => 'exhausted|22023|2', terminate => 'deadly|57P01|1');
foreach my $what (sort keys %fate)
{
	# what ends by itself may take its time
	my $timeout = $what =~ /^(loop|sleep|defer)$/ ? '300 ms' : '1 min';
	sql(qq{SELECT actorstore.alter_type('misbehave', turn_timeout => '$timeout')});
	sql(qq{SELECT actorstore.send('misbehave', '$what', 'm', '"before"'), actorstore.send('misbehave', '$what', 'm', '"$what"'), actorstore.send('misbehave', '$what', 'm', '"after"')});
	ok(handled($node, 'd', 'misbehave'), "$what: handled");
	is(sql(qq{SELECT reason, sqlstate, attempts FROM actorstore.dead_letter WHERE actor_type = 'misbehave' AND actor_id = '$what'}), $fate{$what}, "$what: the dead letter");
	is(sql(qq{SELECT value FROM actorstore.get('misbehave', '$what')}), '["before", "after"]', "$what: the others are handled");
}
is(sql(q{SELECT actor_id, error, detail FROM actorstore.dead_letter WHERE actor_type = 'misbehave' AND sqlstate = '57014' ORDER BY 1}),
	"cancel|canceling statement due to user request|\ndefer|canceling turn due to turn_timeout|\n" . join("\n", map { "$_|canceling turn due to turn_timeout|The turn_timeout of actor type \"misbehave\" is 300 ms." } qw(loop sleep)), 'and why');
sql(q{SELECT actorstore.send('misbehave', 'itself', 'm', '"itself"')});
ok(handled($node, 'd', 'misbehave'), 'itself: handled');
is(sql(q{SELECT value FROM actorstore.get('misbehave', 'itself')}), '["itself", "fine"]', 'itself: a message to itself comes later');
sql(q{SELECT actorstore.send('good', 'after all', 'm', '1')});
ok(handled($node, 'd', 'good'), 'after all of this: handled');

# ---- What a handler does to its own actor ----

sql(q{
CREATE FUNCTION own(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	c record;
BEGIN
	SELECT * INTO c FROM actorstore.context();
	CASE body->>'do'
		WHEN 'return' THEN RETURN body->'value';
		WHEN 'delete' THEN PERFORM actorstore.delete(c.actor_type, c.actor_id);
		WHEN 'put' THEN PERFORM actorstore.put(c.actor_type, c.actor_id, body->'value');
		WHEN 'get' THEN RETURN jsonb_build_array(state, (actorstore.get(c.actor_type, c.actor_id)).value);
		WHEN 'select' THEN RETURN jsonb_build_array(state, (SELECT value FROM actorstore.actor_own WHERE actor_id = c.actor_id));
		WHEN 'insert' THEN PERFORM actorstore.insert(c.actor_type, c.actor_id, body->'value');
		WHEN 'update' THEN PERFORM actorstore.update(c.actor_type, c.actor_id, body->'value');
	END CASE;
	RETURN NULL;
END $$;
SELECT actorstore.create_type('own', max_attempts => 1), actorstore.set_handler('own', '*', 'own(jsonb, jsonb)')});
my @lives = (
	[ 'return 1, delete' ], [ 'return 1, delete, return 2' ], [ 'return 1, get' ], [ 'return 1, put 2, get' ], [ 'put 1, delete, get' ], [ 'put 1, return 2, delete, put 3' ], [ 'return 1, update 2' ],
	[ 'return 1, insert 2' ], [ 'delete, insert 1, return 2' ], [ 'insert 1, insert 2, get' ], [ 'return 1, select' ], [ 'return 1, delete, insert 5, get, delete, select' ]);
my $lives = 0;
foreach my $life (@lives)
{
	my @bodies = map { /(\w+) ?(\d*)/; $2 ne '' ? qq({"do": "$1", "value": $2}) : qq({"do": "$1"}) } split /, /, $life->[0];

	# one a time, and all at once
	$lives++;
	foreach my $body (@bodies)
	{
		sql(qq{SELECT actorstore.send('own', 'single $lives', 'm', '$body')});
		handled($node, 'd', 'own');
	}
	sql(q{SELECT actorstore.pause('own'); BEGIN;} . join('', map { "SELECT actorstore.send('own', 'batch $lives', 'm', '$_');" } @bodies) . q{COMMIT; SELECT actorstore.resume('own')});
	ok(handled($node, 'd', 'own'), "$life->[0]: handled");
	is(sql(qq{SELECT value FROM actorstore.get('own', 'batch $lives')}) . sql(qq{SELECT string_agg(sqlstate, ' ') FROM actorstore.dead_letter WHERE actor_id = 'batch $lives'}),
		sql(qq{SELECT value FROM actorstore.get('own', 'single $lives')}) . sql(qq{SELECT string_agg(sqlstate, ' ') FROM actorstore.dead_letter WHERE actor_id = 'single $lives'}), "$life->[0]: in a batch as one by one");
}

# ---- Counters ----

sql(q{SELECT actorstore.create_type('counted', max_attempts => 3, backoff => '10 ms'), actorstore.set_handler('counted', 'm', 'collect(jsonb, jsonb)'), actorstore.set_handler('counted', 'fail', 'fail(jsonb, jsonb)'), actorstore.set_handler('counted', 'reject', 'reject(jsonb, jsonb)')});
foreach my $send ((map { "'a', 'm'" } 1 .. 7), "'b', 'm'", "'c', 'fail'", "'d', 'reject', '{}'", "'e', 'unknown'")
{
	sql("SELECT actorstore.send('counted', $send)");
	handled($node, 'd', 'counted');
}
ok(comes_true($node, 'd', q{(SELECT handled = 8 AND dead = 3 FROM actorstore.stat_types WHERE actor_type = 'counted')}), 'stat_types: what was handled, and what died');
is(sql(q{SELECT created, failed, retried FROM actorstore.stat_types WHERE actor_type = 'counted'}), '2|4|2', 'stat_types: created, failed, retried');
is(sql(q{SELECT waiting_p50 <= waiting_p95 AND waiting_p95 <= waiting_p99 AND handling_p50 <= handling_p95 AND handling_p95 <= handling_p99 AND handling_p50 > 0 FROM actorstore.stat_latency WHERE actor_type = 'counted'}), 't', 'stat_latency');

# One of them may have ended for a turn above, and start again.
ok(comes_true($node, 'd', q{(SELECT count(*) = 2 AND count(DISTINCT pid) = 2 AND bool_and(database = 'd') FROM actorstore.stat_workers)}), 'stat_workers');
is(sql(q{SELECT sum(messages) >= 8 AND sum(failures) >= 4 FROM actorstore.stat_workers}), 't', 'stat_workers: they have done it');
sql(q{SELECT actorstore.pause('counted'); SELECT actorstore.send('counted', 'x', 'm') FROM generate_series(1, 3); SELECT actorstore.send('counted', 'x', 'm', delay => '1 h')});
is(sql(q{SELECT actor_id, depth, oldest < now(), attempts, next_due > now() FROM actorstore.stat_actors WHERE actor_type = 'counted'}), 'x|4|t|0|t', 'stat_actors');
ok(comes_true($node, 'd', q{(SELECT queued = 0 AND running = 0 AND slots >= used_slots AND next_due > now() FROM actorstore.stat_scheduler)}), 'stat_scheduler');

# ---- Full mailboxes ----

sql(q{SELECT actorstore.create_type('wait', mailbox_limit => 3, on_full => 'wait'), actorstore.set_handler('wait', '*', 'collect(jsonb, jsonb)'), actorstore.pause('wait');
	SELECT actorstore.send('wait', 'a', 'm', to_jsonb(i)) FROM generate_series(1, 3) AS i});
is(sqlstate($node, 'd', q{SET statement_timeout = '300 ms'; SELECT actorstore.send('wait', 'a', 'm', '0')}), '57014', 'wait: bounded by statement_timeout');
is(sqlstate($node, 'd', q{SELECT actorstore.send('wait', 'own', 'm', '0') FROM generate_series(1, 4)}), 'VA001', 'wait: not for oneself');
my @senders = map { ActorstoreTest::Session->new($node, 'd') } 1 .. 3;
$senders[ $_ - 4 ]->start("SELECT actorstore.send('wait', 'a', 'm', '$_') > 0") foreach 4 .. 6;
ok(comes_true($node, 'd', q{(SELECT count(*) = 3 FROM pg_stat_activity WHERE query LIKE '%''wait'', ''a''%' AND wait_event_type IN ('Extension', 'IPC') AND pid <> pg_backend_pid())}), 'wait: three wait');
is(sql(q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'wait'}), 3, 'wait: nothing is sent yet');
sql(q{SELECT actorstore.resume('wait')});
is(join(' ', map { $_->finish } @senders), 't t t', 'wait: they go on when there is room');
$_->quit foreach @senders;
ok(handled($node, 'd', 'wait'), 'wait: handled');
is(sql(q{SELECT (SELECT string_agg(e, ' ' ORDER BY e) FROM jsonb_array_elements_text(value) AS e) FROM actorstore.get('wait', 'a')}), '1 2 3 4 5 6', 'wait: all arrived');
my $writer = IPC::Run::start([ 'psql', '-XAtq', $node->connstr('d'), '-c', q{DO $$ BEGIN FOR i IN 1 .. 300 LOOP PERFORM actorstore.send('wait', 'stream', 'm', to_jsonb(i)); COMMIT; END LOOP; END $$} ], '>', \my $out, '2>', \my $err);
$writer->finish;
is($err, '', 'wait: a stream through a small mailbox');
ok(handled($node, 'd', 'wait'), 'wait: the stream is handled');
is(sql(q{SELECT value = (SELECT jsonb_agg(i) FROM generate_series(1, 300) AS i) FROM actorstore.get('wait', 'stream')}), 't', 'wait: all of it, in order');

# The limit holds right after a crash, with no more to go by than the table.
sql(q{SELECT actorstore.create_type('small', mailbox_limit => 5), actorstore.pause('small'); SELECT actorstore.send('small', 'a', 'm') FROM generate_series(1, 3); SELECT actorstore.send('small', 'b', 'm', delay => '1 h') FROM generate_series(1, 5);
	SELECT actorstore.create_type('memory', 'unlogged'), actorstore.set_handler('memory', '*', 'collect(jsonb, jsonb)'); SELECT actorstore.send('memory', 'a', 'm', '1')});
ok(handled($node, 'd', 'memory'), 'unlogged: handled');
is(sql(q{SELECT value FROM actorstore.get('memory', 'a')}), '[1]', 'unlogged: a state');
sql(q{SELECT actorstore.pause('memory'); SELECT actorstore.send('memory', 'a', 'm', '2')});
$node->stop('immediate');
$node->start;
is(sqlstate($node, 'd', q{SELECT actorstore.send('small', 'b', 'm')}), 'VA001', 'after a crash: full is full');
is(join(' ', map { sqlstate($node, 'd', q{SELECT actorstore.send('small', 'a', 'm')}) } 1 .. 3), '00000 00000 VA001', 'after a crash: the limit is exact');
is(sql(q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'small'}), 10, 'after a crash: and so many wait');
sql(q{SELECT actorstore.resume('memory')});
ok(handled($node, 'd', 'memory'), 'unlogged: the mail has survived a crash');
is(sql(q{SELECT version, value FROM actorstore.get('memory', 'a')}), '0|[2]', 'unlogged: the state has not');

# ---- A handler that catches its time-out, whatever happens ----

sql(q{SELECT actorstore.alter_type('misbehave', turn_timeout => '300 ms')});
sql(q{SELECT actorstore.send('misbehave', 'stubborn', 'm', '"stubborn"')});
ok(handled($node, 'd', 'misbehave'), 'stubborn: a time-out cannot be ignored for ever');
is(sql(q{SELECT count(*) FROM actorstore.dead_letter WHERE actor_id = 'stubborn'}), 1, 'stubborn: the dead letter');
sql(q{SELECT actorstore.send('good', 'last', 'm', '1')});
ok(handled($node, 'd', 'good'), 'stubborn: others are handled');

# ---- Times so long that they have no end ----

my @ages = ('300000 years', '1000000 years', '178000000 years', '9223372036854 s', $node->pg_version >= 17 ? 'infinity' : ());
foreach my $age (@ages)
{
	sql(qq{SELECT actorstore.create_type('aeon', turn_timeout => '$age', backoff => '$age', backoff_max => '$age'), actorstore.set_handler('aeon', '*', 'misbehave(jsonb, jsonb)'), actorstore.set_handler('aeon', 'fail', 'fail(jsonb, jsonb)')});
	is(sql(qq{SELECT actorstore.ask('aeon', 'a', 'm', '"fine"')}), '["fine"]', "$age: a turn has time");
	sql(q{SELECT actorstore.send('aeon', 'b', 'fail')});
	ok(comes_true($node, 'd', q{EXISTS (SELECT FROM actorstore.mailbox WHERE actor_type = 'aeon' AND attempts = 1 AND due > now() + interval '50000 years')}), "$age: and so has one that fails");
	sql(q{SELECT actorstore.drop_type('aeon')});
}
foreach my $age (grep { $_ eq 'infinity' } @ages)
{
	sql(q{SELECT actorstore.create_type('aeon'), actorstore.set_handler('aeon', '*', 'misbehave(jsonb, jsonb)')});
	is(sql(q{SELECT actorstore.ask('aeon', 'a', 'm', '"fine"', timeout => 'infinity')}), '["fine"]', 'infinity: a question');
	is(sqlstate($node, 'd', q{SELECT actorstore.send('aeon', 'a', 'm', delay => 'infinity')}), '22023', 'infinity: no delay');
	is(sqlstate($node, 'd', qq{SELECT actorstore.set_timer('aeon', 'a', 'n', 'm', $_ => 'infinity')}), '22023', "infinity: no timer by $_") foreach qw(after every);
	is(sqlstate($node, 'd', q{SELECT actorstore.checkout('w', '{aeon}', lease => 'infinity')}), '22023', 'infinity: no lease');
	is(sqlstate($node, 'd', q{SELECT actorstore.ask('aeon', 'a', 'm', timeout => '-infinity')}), '22023', 'infinity: nor one that is over');
}

# ---- A large state, written for a handler that looks at states ----

# So large that the memory of its row is given back to the system at once: who touched it later would find none there.
$node->append_conf('postgresql.conf', "actorstore.max_value_size = '64MB'\nactorstore.worker_memory_limit = 0\nactorstore.workers = 1");
$node->restart;
sql(q{
CREATE FUNCTION vast(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(repeat('x', 34000000)) $$;
SELECT actorstore.set_handler('own', 'vast', 'vast(jsonb, jsonb)')});
foreach my $actor ('learns', 'vast')	# at the first one the worker learns what the handler looks at
{
	sql(q{SELECT actorstore.pause('own'); BEGIN;} . join('', map { "SELECT actorstore.send('own', '$actor', $_);" } q{'m', '{"do": "put", "value": 1}'}, q{'vast'}, q{'m', '{"do": "delete"}'}, q{'m', '{"do": "put", "value": 3}'}) . q{COMMIT; SELECT actorstore.resume('own')});
	ok(handled($node, 'd', 'own'), "a large state, $actor: handled");
	is(sql(qq{SELECT version, value FROM actorstore.get('own', '$actor')}), '0|3', "a large state, $actor: and deleted");
}

$node->stop;
done_testing();
