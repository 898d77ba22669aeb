# How much of a type happens: messages a second, actors at once; and that what
# waits for it is in nobody's way, and is not forgotten.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('flow', settings => "restart_after_crash = on\nactorstore.workers = 4\nmax_worker_processes = 16");
new_database_with_actors($node, 'd');

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }
sub becomes_true { my ($condition, $name) = @_; ok(comes_true($node, 'd', $condition, kept => 1), $name); return; }

# log() notes when it begins and ends, and works for body milliseconds
sql(q{
CREATE TABLE work (type text, actor text, began timestamptz, ended timestamptz, worker int DEFAULT pg_backend_pid());
GRANT ALL ON work TO PUBLIC;
CREATE FUNCTION log(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz = clock_timestamp();
BEGIN
	PERFORM pg_sleep(body::float8 / 1000);
	INSERT INTO work SELECT c.actor_type, c.actor_id, began, clock_timestamp() FROM actorstore.context() AS c;
	RETURN to_jsonb(coalesce(state::bigint, 0) + 1);
END $$;
SELECT actorstore.create_type('free'), actorstore.set_handler('free', '*', 'log(jsonb, jsonb)'), actorstore.create_type('other'), actorstore.set_handler('other', '*', 'collect(jsonb, jsonb)')});

# ---- Arguments ----

is(sqlstate($node, 'd', qq{SELECT actorstore.create_type('bad', $_)}), '22023', $_)
  foreach 'rate_limit => -1', "rate_limit => 'NaN'", "rate_limit => 'Infinity'", 'max_concurrency => -1';
sql(q{SELECT actorstore.create_type('options', rate_limit => 2.5, max_concurrency => 3, order_by_deadline => true)});
is(sql(q{SELECT rate_limit, max_concurrency, order_by_deadline FROM actorstore.type WHERE actor_type = 'options'}), '2.5|3|t', 'options are kept');
sql(q{SELECT actorstore.alter_type('options', max_attempts => 3)});
is(sql(q{SELECT rate_limit, max_concurrency, order_by_deadline FROM actorstore.type WHERE actor_type = 'options'}), '2.5|3|t', 'NULL keeps them');
sql(q{SELECT actorstore.alter_type('options', rate_limit => 0, max_concurrency => 0, order_by_deadline => false)});
is(sql(q{SELECT rate_limit, max_concurrency, order_by_deadline FROM actorstore.type WHERE actor_type = 'options'}), '||f', '0 is no limit');

# ---- Messages a second ----

# The most that have begun in any span of time, beyond what the rate allows: at
# most what the bucket holds, a tenth of a second's, and one.
sub excess
{
	my ($rate) = @_;
	return sql(qq{WITH w AS (SELECT began, row_number() OVER (ORDER BY began) AS n FROM work)
		SELECT coalesce(max(b.n - a.n - $rate * extract(epoch FROM b.began - a.began)), 0) < greatest(1, $rate / 10.0) + 1 FROM w AS a JOIN w AS b ON b.n > a.n});
}
sub commits { return sql(q{SELECT sum(commits) FROM actorstore.workers_now()}); }

foreach my $actors (1, 60)
{
	my $type = "rate $actors";

	sql(qq{SELECT actorstore.create_type('$type', rate_limit => 40), actorstore.set_handler('$type', '*', 'log(jsonb, jsonb)'); TRUNCATE work});
	my $before = commits();
	sql(qq{SELECT count(actorstore.send('$type', (i % $actors)::text, 'm', '0')) FROM generate_series(1, 120) AS i});
	sql(q{SELECT count(actorstore.send('other', i::text, 'm', '0')) FROM generate_series(1, 100) AS i});
	ok(handled($node, 'd', 'other'), "$actors actors: others");
	cmp_ok(sql(qq{SELECT count(*) FROM actorstore.message WHERE actor_type = '$type'}), '>', 50, "$actors actors: do not wait for them");
	ok(handled($node, 'd', $type), "$actors actors: all are handled");
	is(sql(qq{SELECT sum(value::bigint) FROM actorstore.actor WHERE actor_type = '$type'}), 120, "$actors actors: each once");
	is(excess(40), 't', "$actors actors: not more often than allowed");
	cmp_ok(commits() - $before, '<', 1500, "$actors actors: nobody spins meanwhile");
}

# Actors take turns.
sql(q{SELECT actorstore.create_type('turns', rate_limit => 50), actorstore.set_handler('turns', '*', 'log(jsonb, jsonb)'); TRUNCATE work;
	SELECT count(actorstore.send('turns', a, 'm', '0')) FROM generate_series(1, 40), unnest('{a,b,c}'::text[]) AS a});
ok(handled($node, 'd', 'turns'), 'three busy actors');
is(sql(q{SELECT count(DISTINCT actor) FROM (SELECT actor FROM work ORDER BY began LIMIT 40) AS w}), 3, 'all of them get on');

# A limit that would take hours is lifted; the type is dropped.
sql(q{SELECT actorstore.create_type(t, rate_limit => 0.0001), actorstore.set_handler(t, '*', 'log(jsonb, jsonb)') FROM unnest('{slow,dropped}'::text[]) AS t;
	SELECT count(actorstore.send(t, i::text, 'm', '0')) FROM unnest('{slow,dropped}'::text[]) AS t, generate_series(1, 1000) AS i});
becomes_true(q{(SELECT count(*) = 2 FROM actorstore.actor WHERE actor_type IN ('slow', 'dropped'))}, 'one each gets through');
sql(q{SELECT actorstore.drop_type('dropped'), actorstore.alter_type('slow', rate_limit => 0)});
ok(handled($node, 'd', 'slow'), 'lifted: all are handled');
becomes_true(q{(SELECT used_slots = 0 FROM actorstore.scheduler_now())}, 'nothing is left behind');

# ---- Actors at once ----

# The most turns that have been at work at the same time.
sub at_once { return sql(q{SELECT max(n) FROM (SELECT count(*) AS n FROM work AS a JOIN work AS b ON b.began <= a.began AND b.ended > a.began GROUP BY a.ctid) AS c}); }
sub all_handled
{
	my ($type, $n) = @_;
	ok(handled($node, 'd', $type), "$type: all are handled");
	is(sql(qq{SELECT sum(value::bigint) FROM actorstore.actor WHERE actor_type = '$type'}), $n, "$type: each once");
	return;
}

foreach my $max (1, 2)
{
	sql(qq{SELECT actorstore.create_type('max $max', max_concurrency => $max), actorstore.set_handler('max $max', '*', 'log(jsonb, jsonb)'); TRUNCATE work;
		SELECT count(actorstore.send('max $max', i::text, 'm', '10')) FROM generate_series(1, 100) AS i});
	sql(q{SELECT count(actorstore.send('other', i::text, 'm', '0')) FROM generate_series(1, 100) AS i});
	ok(handled($node, 'd', 'other'), "max $max: others");
	cmp_ok(sql(qq{SELECT count(*) FROM actorstore.message WHERE actor_type = 'max $max'}), '>', 10, "max $max: do not wait for them");
	all_handled("max $max", 100);
	is(at_once(), $max, "max $max: so many at once");
}
sql(q{TRUNCATE work; SELECT count(actorstore.send('free', i::text, 'm', '10')) FROM generate_series(1, 100) AS i});
ok(handled($node, 'd', 'free'), 'without a limit');
cmp_ok(at_once(), '>', 2, 'there are more');

# Both limits, a lower one meanwhile, and actors that fail or are paused.
sql(q{
CREATE FUNCTION fail(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
SELECT actorstore.create_type('both', max_concurrency => 1, rate_limit => 300, max_attempts => 1), actorstore.set_handler('both', '*', 'log(jsonb, jsonb)'), actorstore.set_handler('both', 'fail', 'fail(jsonb, jsonb)');
TRUNCATE work;
SELECT actorstore.pause('both', i::text) FROM generate_series(1, 20) AS i;
SELECT count(actorstore.send('both', i::text, CASE WHEN i % 5 = 0 THEN 'fail' ELSE 'm' END, '1')) FROM generate_series(1, 100) AS i});
becomes_true(q{(SELECT count(*) = 20 FROM actorstore.message WHERE actor_type = 'both')}, 'both: paused actors wait');
sql(q{SELECT actorstore.resume('both', i::text) FROM generate_series(1, 20) AS i});
all_handled('both', 80);
is(sql(q{SELECT count(*) FROM actorstore.dead_letter WHERE actor_type = 'both'}), 20, 'both: those that fail are dead letters');
is(at_once(), 1, 'both: one at once');
is(excess(300), 't', 'both: not more often than allowed');

# Somebody who asks waits for his turn, too.
is(sql(q{SELECT actorstore.ask('both', 'asked', 'm', '0')}), 1, 'an answer');
sql(q{SELECT actorstore.create_type('asked', rate_limit => 0.0001), actorstore.set_handler('asked', '*', 'log(jsonb, jsonb)')});
is(sqlstate($node, 'd', q{SELECT actorstore.ask('asked', 'a', 'm', '0'); SELECT actorstore.ask('asked', 'a', 'm', '0', timeout => '300 ms')}), 'VA002', 'or none, in time');
is(sql(q{SELECT actorstore.call('asked', 'a', 'm', '0')}), 2, 'call is not held back');

# ---- Senders that wait for room ----

# Four senders for a mailbox with little room.
sql(q{
CREATE TABLE sent (n bigint GENERATED ALWAYS AS IDENTITY, sender text, id bigint);
SELECT actorstore.create_type('narrow', mailbox_limit => 3, on_full => 'wait'), actorstore.set_handler('narrow', '*', 'log(jsonb, jsonb)'), actorstore.pause('narrow')});
sub sender
{
	my ($name, $n) = @_;
	return IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('d'), '-c',
		qq{DO \$\$ BEGIN FOR i IN 1 .. $n LOOP INSERT INTO sent (sender, id) VALUES ('$name', actorstore.send('narrow', 'a', '$name', '0')); COMMIT; END LOOP; END \$\$} ], '>', \my $out, '2>', \my $err);
}
my @senders = map { sender($_, 60) } 'one', 'two', 'three', 'four';
becomes_true(q{(SELECT count(*) = 4 FROM pg_stat_activity WHERE query LIKE 'DO %narrow%' AND wait_event_type = 'Extension')}, 'all of them wait');
sql(q{SELECT actorstore.resume('narrow')});
$_->finish foreach @senders;
ok(handled($node, 'd', 'narrow'), 'all are handled');
is(sql(q{SELECT sender, count(*) FROM sent GROUP BY 1 ORDER BY 1}), "four|60\none|60\nthree|60\ntwo|60", 'all were sent');

# Who came first is let in first: there is room for one at a time.
sql(q{SELECT actorstore.alter_type('narrow', mailbox_limit => 1), actorstore.pause('narrow'), actorstore.send('narrow', 'a', 'fills it', '0'); TRUNCATE sent});
my @line;
foreach my $n (1 .. 6)
{
	push @line, sender("number $n", 1);
	becomes_true(qq{(SELECT count(*) = $n FROM pg_stat_activity WHERE query LIKE 'DO %narrow%' AND wait_event_type = 'Extension')}, "number $n waits");
}
sql(q{SELECT actorstore.resume('narrow')});
$_->finish foreach @line;
is(sql(q{SELECT string_agg(sender, ', ' ORDER BY id) FROM sent}), join(', ', map { "number $_" } 1 .. 6), 'first come, first served');
ok(handled($node, 'd', 'narrow'), 'all of them are handled');
sql(q{SELECT actorstore.alter_type('narrow', mailbox_limit => 3)});

# Who gives up lets the next one go on.
sql(q{SELECT actorstore.pause('narrow'); SELECT actorstore.send('narrow', 'b', 'first', '0') FROM generate_series(1, 3)});
my $first = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('d'), '-c', q{SET statement_timeout = '20s'; SELECT actorstore.send('narrow', 'b', 'given up', '0')} ], '>', \my $out, '2>', \my $err);
becomes_true(q{EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%given up%' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid())}, 'one waits');
my $second = sender('second', 1);
my $third = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('d'), '-c', q{SELECT actorstore.send('narrow', 'b', 'third', '0')} ], '>', \my $out3, '2>', \my $err3);
becomes_true(q{EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%third%' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid())}, 'and others behind it');
$second->finish;
is(sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%given up%' AND pid <> pg_backend_pid()}), 't', 'it is cancelled');
$first->finish;
like($err, qr/canceling statement due to user request/, 'at once');
sql(q{SELECT actorstore.resume('narrow')});
$third->finish;
ok(handled($node, 'd', 'narrow'), 'the others go on');
is(sql(q{SELECT value FROM actorstore.get('narrow', 'b')}), 4, 'and nothing else');

# One that has filled the mailbox itself is told so, whoever waits before it.
is(sqlstate($node, 'd', q{SELECT count(actorstore.send('narrow', 'c', 'm', '0')) FROM generate_series(1, 4)}), 'VA001', 'who would wait for himself does not');

# ---- Hardly any ----

# One in so many years that no clock counts them: nobody looks for the next one in vain.
sql(q{SELECT actorstore.create_type('hardly', rate_limit => '1e-300'), actorstore.set_handler('hardly', '*', 'collect(jsonb, jsonb)');
	SELECT actorstore.send('hardly', 'a', 'm', to_jsonb(i)) FROM generate_series(1, 3) AS i});
becomes_true(q{(SELECT value = '[1]' FROM actorstore.get('hardly', 'a'))}, 'hardly any: the first one');
becomes_true(q{(SELECT count(*) > 0 AND bool_and(state = 'sleeping') FROM actorstore.stat_workers)}, 'hardly any: workers sleep');
is(sql(q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'hardly'}), '2', 'hardly any: the others wait');
sql(q{SELECT actorstore.alter_type('hardly', rate_limit => 0)});
becomes_true(q{(SELECT value = '[1, 2, 3]' FROM actorstore.get('hardly', 'a'))}, 'hardly any: till the limit is taken away');

# ---- Death ----

sub busy { sql(q{TRUNCATE work; SELECT count(actorstore.send('max 1', i::text, 'm', '2')), count(actorstore.send('rate 60', (i % 60)::text, 'm', '0')) FROM generate_series(1, 80) AS i}); return; }
busy();
foreach (1 .. 10)
{
	sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'actorstore worker' AND random() < 0.5});
	select(undef, undef, undef, 0.1);
}
all_handled('max 1', 180);
all_handled('rate 60', 200);
sql(q{DELETE FROM work WHERE type <> 'max 1'});
is(at_once(), 1, 'workers are terminated: still one at once');
busy();
$node->stop('immediate');
$node->start;
all_handled('max 1', 260);
all_handled('rate 60', 280);

done_testing();
