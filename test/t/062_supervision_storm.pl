# Restarts, exits, monitors and links while processes are killed: workers,
# the launcher, the whole server, at any moment.  Each crash of an actor is
# restarted once, each exit told once; what was under way goes on.
#
# ACTORSTORE_STORM_SECONDS lets it rage longer, ACTORSTORE_STORM_SEED repeats.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use Test::More;
use Time::HiRes qw(time usleep);

my $seconds = $ENV{ACTORSTORE_STORM_SECONDS} || 10;
my $seed = $ENV{ACTORSTORE_STORM_SEED} || time ^ $$;
srand($seed);
note("seed $seed");

my $node = new_node('supervision_storm', settings => "actorstore.workers = 3\nrestart_after_crash = on\nfsync = off");
new_database_with_actors($node, 'd');

# Who asks has patience: the server comes and goes.
sub patient
{
	my ($sql) = @_;
	for (1 .. patience() * 20)
	{
		my ($status, $stdout) = eval { $node->psql('d', $sql) };	# psql may be gone before it is told what to do
		return $stdout if defined $status && $status == 0;
		usleep(50_000);
	}
	die "the server does not come back";
}
sub rest
{
	for (1 .. patience() * 20)
	{
		return 1 if patient(q{SELECT count(*) FROM actorstore.message}) eq '0';
		usleep(50_000);
	}
	return 0;
}

patient(q{
CREATE TABLE told (who text, what text, of text, reason text);
CREATE FUNCTION act(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	me record := actorstore.context();
BEGIN
	CASE me.message
		WHEN 'crash' THEN RAISE EXCEPTION 'crash';
		WHEN 'work' THEN RETURN to_jsonb(coalesce(state::int, 0) + 1);
		WHEN 'stop' THEN PERFORM actorstore.stop('enough');
		WHEN 'watch' THEN PERFORM actorstore.monitor('w', body->>0), actorstore.link('w', body->>0);
		WHEN 'spawn' THEN PERFORM actorstore.spawn('w', body->>0, '0');
		ELSE INSERT INTO told VALUES (me.actor_id, me.message, body->>'actor_id', body->>'reason');
	END CASE;
	RETURN NULL;
END $$;
SELECT actorstore.create_type(t, max_attempts => 1, on_exhausted => 'escalate'), actorstore.set_handler(t, '*', 'act(jsonb, jsonb)') FROM unnest(ARRAY['w', 't', 'sup']) AS t;
SELECT actorstore.set_handler('t', h, 'act(jsonb, jsonb)') FROM unnest(ARRAY['$exit', '$down']) AS h;
});
patient(q{SELECT actorstore.send('t', 'maker', 'spawn', jsonb_build_array(k || i)) FROM unnest(ARRAY['one', 'all', 'rest', 'end']) AS k, generate_series(1, 4) AS i});
patient(q{SELECT actorstore.send('t', 'maker', 'spawn', jsonb_build_array('target' || i)) FROM generate_series(1, 60) AS i});
rest();
patient(qq{SELECT actorstore.supervise('sup', k, 'w', k || i, s, m, '1 day') FROM (VALUES ('one', 'one_for_one', 1000000000), ('all', 'one_for_all', 1000000000), ('rest', 'rest_for_one', 1000000000), ('end', 'one_for_all', 5)) AS x (k, s, m), generate_series(1, 4) AS i ORDER BY k, i});
rest();

sub kill_something
{
	my $what = int(rand(10));

	if ($what == 0)
	{
		$node->stop('immediate');
		$node->start;
		return;
	}
	my $pid = patient(q{SELECT pid FROM pg_stat_activity WHERE backend_type } . ($what < 8 ? q{= 'actorstore worker'} : q{LIKE 'actorstore %'}) . q{ ORDER BY random() LIMIT 1});
	if ($pid ne '')
	{
		$what == 7 ? kill('TERM', $pid) : kill('KILL', $pid);
	}
	return;
}

# Rounds of crashes, each told to one child of each supervisor, and of targets that are watched as they stop.
my $end = time + $seconds;
my ($rounds, $kills) = (0, 0);
while (time < $end || $rounds < 3)
{
	$rounds++;
	patient(q{BEGIN;
		SELECT actorstore.send('w', 'one' || i, m) FROM generate_series(1, 4) AS i, unnest(ARRAY['work', 'crash', 'work', 'crash', 'work']) WITH ORDINALITY AS x (m, n) ORDER BY n;
		SELECT actorstore.send('w', k, m) FROM unnest(ARRAY['all2', 'rest2', 'end3']) AS k, unnest(ARRAY['work', 'crash', 'crash', 'work']) WITH ORDINALITY AS x (m, n) ORDER BY n;
		SELECT actorstore.send('w', k || i, 'work') FROM unnest(ARRAY['all', 'rest', 'end']) AS k, generate_series(1, 4) AS i;
		COMMIT});
	patient(qq{BEGIN;
		SELECT actorstore.send('t', 'watcher' || w, 'watch', jsonb_build_array('target' || i)) FROM generate_series(1, 5) AS w, generate_series(1, 20) AS i;
		COMMIT}) if $rounds <= 3;
	patient(qq{SELECT actorstore.send('w', 'target' || i, 'stop') FROM generate_series(20 * $rounds - 19, 20 * $rounds) AS i;
		SELECT actorstore.send('t', 'watcher' || w, 'watch', jsonb_build_array('target' || i), dedup_key => 'target' || i) FROM generate_series(6, 10) AS w, generate_series(20 * $rounds - 19, 20 * $rounds) AS i}) if $rounds <= 3;
	for (1 .. 4)
	{
		usleep(int(rand(300_000)));
		kill_something();
		$kills++;
	}
	rest() if $rounds % 3 == 0;
}
note("$rounds rounds, $kills kills");
ok(rest(), 'all mail is handled');

# A message is sent exactly once if the send has committed: what was sent, as dead letters and states tell, against what the log says.
sub is_told { my ($sql, $expected, $what) = @_; return is(patient($sql), $expected, $what); }
sub logged { my ($pattern, $event) = @_; return qq{SELECT count(*) FROM actorstore.supervision_log WHERE child_id ~ '^$pattern' AND event = '$event'}; }
sub crashes { my ($id) = @_; return patient(qq{SELECT count(*) FROM actorstore.dead_letter WHERE actor_id ~ '^$id' AND message = 'crash' AND reason = 'exhausted'}); }

is_told(q{SELECT count(*) FROM actorstore.supervision_step}, 0, 'no step is left');
my $one = crashes('one');
cmp_ok($one, '>=', 8 * $rounds, 'one_for_one: crashes');
is_told(logged('one', $_), $one, "one_for_one: each crash is $_ once") foreach ('exited', 'restart', 'restarted');
my ($all, $rest) = (crashes('all2'), crashes('rest2'));
is_told(logged('all2', $_), $all, "one_for_all: each crash is $_ once") foreach ('exited', 'restart', 'restarted');
is_told(logged('all[134]', $_), 3 * $all, "one_for_all: the others are $_") foreach ('stopped', 'restarted');
is_told(logged('all[134]', $_), 0, "one_for_all: the others are not $_") foreach ('exited', 'restart');
is_told(logged('rest2', $_), $rest, "rest_for_one: each crash is $_ once") foreach ('exited', 'restart', 'restarted');
is_told(logged('rest[34]', $_), 2 * $rest, "rest_for_one: those behind are $_") foreach ('stopped', 'restarted');
is_told(logged('rest1', $_), 0, "rest_for_one: the one before is not $_") foreach ('stopped', 'restarted');
is_told(logged('end3', 'restart'), 5, 'the end: so many restarts');
is_told(logged('end3', 'gave up'), 1, 'the end: it gives up once');
is_told(q{SELECT string_agg(actor_id || ' ' || state, ', ' ORDER BY actor_id) FROM actorstore.halted_actor WHERE actor_id ~ '^(one|all|rest|end)'}, 'end stopped, end1 stopped, end2 stopped, end3 stopped, end4 stopped', 'who has stopped');
is_told(q{SELECT count(*), min(value::int) < max(value::int) FROM actorstore.actor_w WHERE actor_id ~ '^(one|all|rest)'}, '12|t', 'the others go on');

# Mail that waited while its actor was restarted is handled: nothing of it died.
is_told(q{SELECT count(*) FROM actorstore.dead_letter WHERE message = 'work' AND actor_id ~ '^(one|all|rest)'}, 0, 'no other mail died');

# Each watcher has one $down of each target that has stopped, and one $exit.
is_told(q{SELECT count(*) FROM actorstore.halted_actor WHERE actor_id ~ '^target'}, 60, 'all targets have stopped');
is_told(q{SELECT count(*) - count(DISTINCT (who, what, of)) FROM told WHERE substr(who, 8)::int > 5}, 0, 'nobody is told twice');
is_told(q{SELECT what, count(*) FROM told WHERE substr(who, 8)::int > 5 GROUP BY 1 ORDER BY 1}, "\$down|300\n\$exit|300", 'everybody is told');
is_told(q{SELECT bool_and(reason IN ('enough', 'noproc')) FROM told}, 't', 'with the reason');
is_told(q{SELECT (SELECT count(*) FROM actorstore.monitor), (SELECT count(*) FROM actorstore.link)}, '0|0', 'nothing is left to be told');

# ---- Links and monitors made, undone and ended by chance, in turns and in calls, by several at a time ----

patient(q{
CREATE FUNCTION run(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN EXECUTE body->>'sql'; RETURN '1'; END $$;
CREATE FUNCTION trap(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN '2'::jsonb;
SELECT actorstore.create_type(t, max_attempts => 1, on_exhausted => 'stop'), actorstore.set_handler(t, '*', 'run(jsonb, jsonb)') FROM unnest(ARRAY['p', 'q']) AS t;
SELECT actorstore.set_handler('q', h, 'trap(jsonb, jsonb)') FROM unnest(ARRAY['$exit', '$down']) AS h;
SELECT actorstore.put(t, i::text, '0') FROM generate_series(1, 8) AS i, unnest(ARRAY['p', 'q']) AS t;
CREATE PROCEDURE rage(n int) LANGUAGE plpgsql AS $$
DECLARE
	r float;
	t text;
	a text;
	x text;
BEGIN
	FOR i IN 1 .. n LOOP
		r := random();
		t := (ARRAY['p', 'q'])[1 + floor(random() * 2)::int];
		a := (1 + floor(random() * 8)::int)::text;
		x := format('%L, %L', (ARRAY['p', 'q'])[1 + floor(random() * 2)::int], 1 + floor(random() * 8)::int);
		IF r < 0.2 THEN
			PERFORM actorstore.resume(t, a);
			CONTINUE;
		END IF;
		x := CASE WHEN r < 0.5 THEN format('actorstore.link(%s)', x) WHEN r < 0.6 THEN format('actorstore.unlink(%s)', x)
			WHEN r < 0.85 THEN format('actorstore.monitor(%s)', x) WHEN r < 0.95 THEN format('actorstore.demonitor(%s)', x)
			WHEN r < 0.98 THEN 'actorstore.stop(''broken'')' ELSE '1/0' END;
		IF random() < 0.8 THEN
			PERFORM actorstore.send(t, a, 'do', jsonb_build_object('sql', 'SELECT ' || x));
		ELSE
			BEGIN
				PERFORM actorstore.call(t, a, 'do', jsonb_build_object('sql', 'SELECT ' || x));
			EXCEPTION WHEN sqlstate 'VA005' OR division_by_zero THEN
			END;
		END IF;
		IF random() < 0.3 THEN
			COMMIT;
		END IF;
	END LOOP;
END $$});
$end = time + $seconds / 2;
my $links = 0;
while (time < $end || ($links == 0 && time < $end + patience()))
{
	my @raging = map { IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('d'), '-c', 'CALL rage(1000)' ], '>', \my $out, '2>', \my $err) } 1 .. 3;
	usleep(200_000 + int(rand(500_000)));
	kill_something();
	eval { $_->finish } foreach @raging;
	$links += patient(q{SELECT count(*) FROM actorstore.link});
}
ok(rest(), 'links: all mail is handled');
cmp_ok($links, '>', 0, 'links: there were some');
my $halted = q{JOIN actorstore.halted AS h ON (h.actor_type, h.actor_id) IN ((l.actor_type, l.actor_id), (l.peer_type, l.peer_id))};
is_told(q{SELECT count(*) FROM (SELECT actor_type, actor_id, peer_type, peer_id, number FROM actorstore.link EXCEPT SELECT peer_type, peer_id, actor_type, actor_id, number FROM actorstore.link) AS x}, 0, 'links: all of them have both sides');
is_told(qq{SELECT count(*) FROM actorstore.link AS l $halted}, 0, 'links: nobody is linked to who has exited');
is_told(qq{SELECT count(*) FROM actorstore.monitor AS l $halted}, 0, 'links: nobody waits for the exit of who has exited');
is_told(q{SELECT count(*) FROM actorstore.dead_letter WHERE message ~ '^\$'}, 0, 'nothing that the system said has died');

$node->stop;
done_testing();
