# Turns that are handled outside the database, while clients, backends, workers and
# the server are killed: at the end each message has had its effect once, and what
# was asked at most once, or exactly once if it was answered.  What is checked out
# before a crash is open after it, and nobody else gets it.
#
# ACTORSTORE_STORM_ROUNDS says how long.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_node('outside_crash', settings => "restart_after_crash = on\nactorstore.workers = 2\nmax_worker_processes = 16\nactorstore.max_active_actors = 16");
new_database_with_actors($node, 'd');
my $outside = "'actorstore.outside(jsonb, jsonb)'";
my $wait = patience() . ' s';

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }
sub becomes_true { my ($condition, $name) = @_; ok(comes_true($node, 'd', $condition, kept => 1), $name); return; }
sub turns { my ($types, $more) = @_; return map { [ split /\|/ ] } rows($node, 'd', "SELECT turn_id, token, actor_id, jsonb_array_length(messages) FROM actorstore.checkout('test', '{$types}'$more)"); }

# Statements after a crash have to wait for the server to be there.
sub try_until_up
{
	my ($sql) = @_;
	my $end = time + patience();
	my ($status, $out);

	do { ($status, $out) = $node->psql('d', $sql); sleep 0.05 if $status; } while ($status && time < $end);
	return $status ? 'down' : $out;
}

# ---- What is open stays open ----

sql(qq{SELECT actorstore.create_type('out'), actorstore.set_handler('out', '*', $outside);
	SELECT actorstore.create_type('few', max_concurrency => 1), actorstore.set_handler('few', '*', $outside)});
becomes_true(q{(SELECT count(*) > 0 FROM actorstore.stat_workers WHERE database = 'd')}, 'the database is served');
sql(q{SELECT actorstore.send(type, 'a', 'm') FROM unnest('{out,few}'::text[]) AS type});
my ($open) = turns('out', ", 1, '1 h', '$wait'");
my ($place) = turns('few', ", 1, '1 h', '$wait'");
sql(q{CHECKPOINT; SELECT actorstore.send('out', 'a', 'm'), actorstore.send('out', 'b', 'm'), actorstore.send('few', 'b', 'm')});
$node->stop('immediate');
$node->start;
my ($other) = turns('out', ", 1, '1 h', '$wait'");
is($other->[2], 'b', 'after a crash another actor is checked out');
is(scalar(my @none = turns('out', ", 5, '1 h', '300 ms'")), 0, 'the one whose turn is open is not');
is(sqlstate($node, 'd', q{SELECT actorstore.ask('out', 'a', 'm', NULL, '200 ms')}), 'VA002', 'who asks it waits');
is(scalar(@none = turns('few', ", 5, '1 h', '300 ms'")), 0, 'its place is taken, too');
sql("SELECT actorstore.complete($open->[0], $open->[1], '1')");
is(sql(q{SELECT value FROM actorstore.get('out', 'a')}), '1', 'it is completed');
my ($next) = turns('out', ", 1, '1 h', '$wait'");
is("$next->[2] $next->[3]", 'a 1', 'and goes on');
sql("SELECT actorstore.complete($place->[0], $place->[1], '1')");
($place) = turns('few', ", 1, '1 h', '$wait'");
is($place->[2], 'b', 'the place is free');
sql("SELECT actorstore.complete(turn_id, token, '1') FROM actorstore.lease");
is(sql(q{SELECT count(*) FROM actorstore.message}), '0', 'all is handled');
becomes_true('(SELECT used_cells = 0 FROM actorstore.stat_requests)', 'no request is left');

# ---- Numbers that were told are not told again ----

# A checkout does not wait for the disk, so its numbers come from a block whose WAL does.  Nobody else is to write that.
my ($writer) = rows($node, 'd', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});
sql(q{SELECT nextval('actorstore.message_number')});
sql(q{DO $$ BEGIN WHILE (SELECT log_cnt > 0 FROM actorstore.message_number) LOOP PERFORM nextval('actorstore.message_number'); END LOOP; END $$});
kill 'STOP', $writer;
my $told = sql(join '', "SET synchronous_commit = off;\n", ("SELECT actorstore.send('out', 'n', 'm') \\g /dev/null\n" .
	"SELECT turn_id, token FROM actorstore.checkout('test', '{out}', 1000, max_wait => '$wait') \\gset\n" .
	"SELECT actorstore.complete(:turn_id, :token) \\g /dev/null\n\\echo :token\n") x 40);
kill 'KILL', $writer;
$told = (split /\n/, $told)[-1];
is(try_until_up("SELECT 1 / count(*) FROM pg_stat_activity WHERE backend_type = 'walwriter' AND pid <> $writer"), '1', 'the server has crashed');
sql(q{SELECT actorstore.send('out', 'next', 'm')});
($next) = turns('out', ", 1000, '1 h', '$wait'");
ok($next->[1] > $told, "a token is greater than one of a checkout that was lost: $next->[1], $told");
sql(q{SELECT actorstore.drop_type('out', events => false)});

# ---- Workers without a server ----

sub kill_the_server
{
	my $end = time + patience();

	# its children notice in their own time
	$node->kill9;
	sleep 0.1;
	until ($node->start(fail_ok => 1)) { die 'the server does not start' if time > $end; sleep 0.2; $node->{_pid} = undef; }
	return;
}

sql(q{CREATE FUNCTION go_on(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN
		PERFORM actorstore.send('busy', n::text, 'm', body) FROM generate_series(1, 2) AS n
		WHERE n::text <> (actorstore.context()).actor_id;
		RETURN body;
	END $$;
	SELECT actorstore.create_type('busy'), actorstore.set_handler('busy', 'm', 'go_on(jsonb, jsonb)'),
		actorstore.send_many('busy', '{1,2,1,2,1,2,1,2}', 'm', array_fill('1'::jsonb, ARRAY[8]))});
becomes_true(q{(SELECT handled > 100 FROM actorstore.stat_types WHERE actor_type = 'busy')}, 'workers have always something to do');
kill_the_server();
is(sql(q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'busy'}), '8', 'which does not keep them when the server is no more');
sql(q{SELECT actorstore.drop_type('busy', events => false)});

# ---- More turns than slots ----

sql(qq{SELECT actorstore.create_type('crowd'), actorstore.set_handler('crowd', '*', $outside),
	actorstore.send_many('crowd', array_agg(n::text), 'm', array_agg('1'::jsonb)) FROM generate_series(1, 100) AS n});
my ($sweeps, $before) = (0, -1);
for (my $end = time + patience(); $sweeps != $before && time < $end; sleep 1)
{
	($before, $sweeps) = ($sweeps, sql(q{SELECT sweeps FROM actorstore.stat_scheduler}));
}
is($sweeps, $before, 'as long as no client comes, nobody looks for more turns than there is room for');
for (my $end = time + patience(); time < $end && sql(q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'crowd'}) > 0;)
{
	sql(q{SELECT count(actorstore.complete(turn_id, token, '1')) FROM actorstore.checkout('test', '{crowd}', 10, max_wait => '1 s')});
}
is(sql(q{SELECT count(*) FROM actorstore.actor_crowd}), '100', 'clients that come get all of them');
sql(q{SELECT actorstore.drop_type('crowd', events => false)});

# ---- Storm ----

sql(qq{SELECT actorstore.create_type('storm', max_attempts => 1000000, backoff => '1 ms', backoff_max => '5 ms'), actorstore.set_handler('storm', '*', $outside);
	CREATE TABLE effect (body int, worker text);
	CREATE TABLE surprise (sqlstate text, message text);
	GRANT ALL ON effect TO PUBLIC;
	CREATE FUNCTION inside(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN
		INSERT INTO effect VALUES (body::int, 'inside');
		RETURN to_jsonb(coalesce(state::int, 0) + 1);
	END \$\$;
	SELECT actorstore.set_handler('storm', 'inside', 'inside(jsonb, jsonb)');
	CREATE TABLE answered (body int);
	CREATE SEQUENCE question;
	CREATE PROCEDURE asker() LANGUAGE plpgsql AS \$\$
	DECLARE
		n int;
		answered boolean;
	BEGIN
		LOOP
			n = - nextval('question');
			BEGIN
				PERFORM actorstore.ask('storm', 'a' || -n % 23, CASE WHEN random() < 0.2 THEN 'inside' ELSE 'm' END, to_jsonb(n), '1 s');
				answered = true;
			EXCEPTION
				WHEN SQLSTATE 'VA001' OR SQLSTATE 'VA002' OR SQLSTATE 'VA006' OR SQLSTATE '38000' OR admin_shutdown THEN answered = false;
				WHEN OTHERS THEN answered = false; INSERT INTO surprise VALUES (SQLSTATE, SQLERRM);
			END;
			IF answered THEN INSERT INTO answered VALUES (n); END IF;
			COMMIT;
		END LOOP;
	END \$\$;
	CREATE PROCEDURE client(worker text) LANGUAGE plpgsql AS \$\$
	DECLARE
		turns jsonb[];
		turn jsonb;
		fate float8;
	BEGIN
		LOOP
			turns = ARRAY(SELECT to_jsonb(c) FROM actorstore.checkout(worker, '{storm}', 1 + (random() * 5)::int, '500 ms', '100 ms', 1 + (random() * 8)::int) AS c);
			COMMIT;
			FOREACH turn IN ARRAY turns LOOP
				fate = random();
				CONTINUE WHEN fate < 0.01;
				IF fate < 0.02 THEN PERFORM pg_sleep(0.6); END IF;
				IF fate > 0.99 THEN PERFORM actorstore.compare_and_swap('storm', turn->>'actor_id', (turn->>'version')::bigint, turn->'state') WHERE turn->'version' <> 'null'; COMMIT; END IF;
				BEGIN
					IF fate > 0.97 THEN
						PERFORM actorstore.fail((turn->>'turn_id')::bigint, (turn->>'token')::bigint, 'fate');
					ELSE
						INSERT INTO effect SELECT (m->>'body')::int, worker FROM jsonb_array_elements(turn->'messages') AS m;
						PERFORM actorstore.complete((turn->>'turn_id')::bigint, (turn->>'token')::bigint,
							to_jsonb(coalesce((turn->>'state')::int, 0) + jsonb_array_length(turn->'messages')));
					END IF;
				EXCEPTION
					WHEN SQLSTATE 'VA006' OR serialization_failure THEN NULL;
					WHEN OTHERS THEN INSERT INTO surprise VALUES (SQLSTATE, SQLERRM);
				END;
				COMMIT;
			END LOOP;
		END LOOP;
	END \$\$});

my $sent = 0;
my @clients;

# More messages, each with a number of its own; known to be sent, or not.
sub send_more
{
	my ($n) = @_;
	my $values = join ', ', map { my $b = $sent + $_; "('a" . ($b % 23) . "', '" . ($b % 5 == 0 ? 'inside' : 'm') . "', $b)" } 1 .. $n;
	my $first = $sent + 1;
	my $end = time + patience();

	# a statement whose outcome is not known is looked up, not repeated
	while (time < $end)
	{
		my ($status) = $node->psql('d', "SELECT actorstore.send('storm', v.id, v.name, to_jsonb(v.n)) FROM (VALUES $values) AS v(id, name, n) ORDER BY v.n");
		my $there = try_until_up("SELECT EXISTS (SELECT FROM actorstore.message WHERE actor_type = 'storm' AND body = '$first') OR EXISTS (SELECT FROM effect WHERE body = $first)");

		next if $there ne 't';
		$sent += $n;
		return;
	}
	die 'could not send';
}

sub start_client
{
	my ($n) = @_;
	my ($in, $out, $err) = ('', '', '');

	$clients[$n] = IPC::Run::start([ 'psql', '-XAtq', '-c', $n < 4 ? "CALL client('c$n')" : 'CALL asker()', $node->connstr('d') ], '<', \$in, '>', \$out, '2>', \$err);
	return;
}

# The process that psql runs in
sub client_pid { my ($n) = @_; return $clients[$n]->{KIDS}[0]{PID}; }

sub revive
{
	foreach my $n (0 .. 5)
	{
		eval { $clients[$n]->pump_nb } if defined $clients[$n];
		next if defined $clients[$n] && $clients[$n]->pumpable;
		eval { $clients[$n]->finish } if defined $clients[$n];
		start_client($n);
	}
	return;
}

my @blows = (
	[ 'a client'  => sub { kill 'KILL', client_pid(int rand 6) } ],
	[ 'a session' => sub { $node->psql('d', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%' ORDER BY random() LIMIT 1}) } ],
	[ 'a worker'  => sub { $node->psql('d', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'actorstore worker' ORDER BY random() LIMIT 1}) } ],
	[ 'a backend with -9' => sub {
		my ($status, $pid) = $node->psql('d', q{SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL%' ORDER BY random() LIMIT 1});
		kill 'KILL', $pid if !$status && $pid;
	} ],
	[ 'a worker with -9' => sub {
		my ($status, $pid) = $node->psql('d', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore worker' ORDER BY random() LIMIT 1});
		kill 'KILL', $pid if !$status && $pid;
	} ],
	[ 'the server with -9' => \&kill_the_server ]);

foreach my $round (1 .. ($ENV{ACTORSTORE_STORM_ROUNDS} || 12))
{
	my $blow = $blows[ $round % @blows ];

	send_more(100);
	revive();
	sleep 0.2 + rand 0.3;
	$blow->[1]->();
	isnt(try_until_up('SELECT 1'), 'down', "round $round: $blow->[0] is killed");
}
send_more(50);
my $end = time + patience();
my $left;
do
{
	revive();
	sleep 0.1;
	$left = try_until_up(q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'storm'});
} while ($left ne '0' && time < $end);
is($left, '0', 'all messages are handled');
foreach my $client (@clients)
{
	kill 'KILL', $client->{KIDS}[0]{PID};
	eval { $client->finish };
}
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%'});
becomes_true(q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'CALL%')}, 'the others are gone');
becomes_true(q{NOT EXISTS (SELECT FROM actorstore.lease)}, 'no turn is open');
becomes_true(q{(SELECT used_slots = 0 FROM actorstore.stat_scheduler)}, 'no slot is kept');
becomes_true(q{(SELECT used_cells = 0 FROM actorstore.stat_requests)}, 'no question is kept');
is(sql(q{SELECT count(*), count(DISTINCT body), min(body), max(body) FROM effect WHERE body > 0}), "$sent|$sent|1|$sent", 'each message has had its effect, and once');
is(sql(q{SELECT count(*) - count(DISTINCT body) FROM effect WHERE body < 0}), '0', 'what was asked, at most once');
is(sql(q{SELECT count(*) FROM answered WHERE body NOT IN (SELECT body FROM effect)}), '0', 'what was answered, once');
is(sql(q{SELECT sum(value::int) - (SELECT count(*) FROM effect) FROM actorstore.get_all('storm')}), '0', 'so say the states');
cmp_ok(sql(q{SELECT count(*) FROM answered}), '>', 10, 'many were answered');
is(sql(q{SELECT count(*) FROM actorstore.dead_letter}), '0', 'nothing is lost');
is(sql(q{SELECT string_agg(DISTINCT sqlstate || ' ' || message, ', ') FROM surprise}), '', 'and nothing else went wrong');
cmp_ok(sql(q{SELECT count(DISTINCT worker) FROM effect}), '>', 2, 'clients and workers were at it');

$node->stop;
done_testing();
