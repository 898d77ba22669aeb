# A thousand actors pass tokens on in a ring, while workers, the launcher and
# senders are terminated and killed, and the whole server crashes and is
# restarted.  Every hop of every token that was committed is handled once: its
# row in a user's table, the actor's state and the next message belong to one
# transaction.
#
# ACTORSTORE_STORM_SECONDS says how long, ACTORSTORE_STORM_SEED replays the
# events of a run.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my ($actors, $feeders, $hops) = (1000, 3, 40);
my $seconds = $ENV{ACTORSTORE_STORM_SECONDS} || 14;
my $seed = $ENV{ACTORSTORE_STORM_SEED} // int rand 1_000_000;
srand $seed;
note "ACTORSTORE_STORM_SEED=$seed ACTORSTORE_STORM_SECONDS=$seconds";

my $node = new_node('ring',
	settings => "restart_after_crash = on\nfsync = off\nlog_min_messages = log\nautovacuum = on\nautovacuum_naptime = 1s\n"
	  . "actorstore.workers = 3\nmax_worker_processes = 20\nmax_connections = 40");
new_database($node, 'd');
$node->safe_psql('d', qq{
	CREATE TABLE started (token bigint);
	CREATE TABLE ledger (message_id bigint, token bigint, hop int, actor int, attempt int);
	CREATE TABLE forbidden (message_id bigint);
	CREATE SEQUENCE tokens CACHE 100;
	SELECT actorstore.create_type('ring', max_attempts => 1000, backoff => '5 ms', backoff_max => '20 ms');

	-- Write down the hop, count it, pass the token on; now and then, fail
	-- first, or take a send back.
	CREATE FUNCTION hop(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
	DECLARE
		c record;
	BEGIN
		SELECT * INTO c FROM actorstore.context();
		INSERT INTO ledger VALUES (c.message_id, (body ->> 'token')::bigint, (body ->> 'hop')::int, c.actor_id::int, c.attempt);
		IF (body ->> 'hop')::int < $hops THEN
			PERFORM actorstore.send('ring', (((c.actor_id)::int + 1) % $actors)::text, 'hop',
				jsonb_build_object('token', body -> 'token', 'hop', (body ->> 'hop')::int + 1),
				delay => CASE WHEN random() < 0.02 THEN interval '30 ms' END);
		END IF;
		IF random() < 0.01 THEN
			BEGIN
				PERFORM actorstore.send('ring', c.actor_id, 'never');
				RAISE 'taken back';
			EXCEPTION WHEN raise_exception THEN
			END;
		END IF;
		IF random() < 0.005 THEN
			RAISE 'not this time';
		END IF;
		RETURN jsonb_build_object('count', coalesce((state ->> 'count')::int, 0) + 1);
	END\$\$;
	CREATE FUNCTION never(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
	BEGIN
		INSERT INTO forbidden SELECT message_id FROM actorstore.context();
		RETURN state;
	END\$\$;
	SELECT actorstore.set_handler('ring', 'hop', 'hop(jsonb, jsonb)'), actorstore.set_handler('ring', 'never', 'never(jsonb, jsonb)');

	-- Start tokens, a few in each transaction, as long as not too many wait;
	-- a fifth of the transactions roll back.
	CREATE PROCEDURE feed(until timestamptz) LANGUAGE plpgsql AS \$\$
	DECLARE
		fresh bigint;
	BEGIN
		WHILE clock_timestamp() < until LOOP
			IF (SELECT count(*) FROM (SELECT FROM actorstore.message LIMIT 2000) AS m) < 2000 THEN
				FOR i IN 1 .. 1 + (random() * 5)::int LOOP
					fresh := nextval('tokens');
					INSERT INTO started VALUES (fresh);
					PERFORM actorstore.send('ring', (random() * ($actors - 1))::int::text, 'hop', jsonb_build_object('token', fresh, 'hop', 1),
						delay => CASE WHEN random() < 0.1 THEN make_interval(secs => random()) END);
					PERFORM pg_sleep(0.001);
				END LOOP;
			END IF;
			IF random() < 0.2 THEN ROLLBACK; ELSE COMMIT; END IF;
			PERFORM pg_sleep(0.005);
			COMMIT;
		END LOOP;
	END\$\$;
});

# ---- Who sends ----

my @feeder = (undef) x $feeders;
my $end = time + $seconds;

# Each feeder that has lost its connection gets another one.
sub keep_feeding
{
	foreach my $feeder (@feeder)
	{
		if ($feeder)
		{
			$feeder->{harness}->pump_nb;
			next if $feeder->{harness}->pumpable;
			eval { $feeder->{harness}->finish };
		}
		next if time > $end - 0.2;
		$feeder = { in => '', out => '', err => '' };
		my $left = $end - time;
		$feeder->{harness} = IPC::Run::start(
			[ 'psql', '-XAtq', '-c', "SET application_name = 'feeder'", '-c', "CALL feed(clock_timestamp() + interval '$left s')", $node->connstr('d') ],
			'<', \$feeder->{in}, '>', \$feeder->{out}, '2>', \$feeder->{err});
	}
	return;
}

# ---- What happens ----

# A process of that kind, chosen by the seed as far as processes allow; undef if there is none, or no server.
sub victim
{
	my ($which) = @_;
	my ($status, $out) = $node->psql('d', "SELECT pid FROM pg_stat_activity WHERE $which ORDER BY pid", timeout => 30, on_error_die => 0);
	my @pids = defined $status && $status == 0 ? split /\n/, $out : ();
	my $choice = rand;
	return $pids[ int $choice * @pids ];
}

sub terminate
{
	my ($which) = @_;
	my $pid = victim($which) // return 0;
	return kill 'TERM', $pid;
}

sub kill_hard
{
	my ($which) = @_;
	my $pid = victim($which) // return 0;
	return kill 'KILL', $pid;
}

my $workers = "backend_type = 'actorstore worker'";
my %count;
my %event = (
	'worker terminated' => [ 6, sub { terminate($workers) } ],
	'launcher terminated' => [ 2, sub { terminate("backend_type = 'actorstore launcher'") } ],
	'launcher and workers terminated' => [ 2, sub { terminate("backend_type = 'actorstore launcher'") + terminate($workers) + terminate($workers) } ],
	'sender terminated' => [ 2, sub { terminate("application_name = 'feeder'") } ],
	'worker killed' => [ 3, sub { kill_hard($workers) } ],
	'sender killed' => [ 2, sub { kill_hard("application_name = 'feeder'") } ],
	'launcher killed' => [ 1, sub { kill_hard("backend_type = 'actorstore launcher'") } ],
	'immediate shutdown' => [ 2, sub { $node->stop('immediate'); $node->start } ],
	# (Now and then PostgreSQL itself never ends when it is told to while it recovers from a crash: its checkpointer stays.)
	'restart' => [ 1, sub { $node->poll_query_until('d', 'SELECT true') && $node->restart } ]);
my @events = map { ($_) x $event{$_}[0] } sort keys %event;

while (time < $end)
{
	my $event = $events[ int rand @events ];
	my $next = time + 0.1 + rand 0.8;

	keep_feeding();
	$count{$event}++ if $event{$event}[1]->();
	while (time < $next && time < $end)
	{
		keep_feeding();
		usleep(20_000);
	}
}
note "$_: $count{$_}" foreach sort keys %count;
foreach my $feeder (grep { $_ } @feeder)
{
	my $until = time + patience();
	$feeder->{harness}->pump_nb, usleep(10_000) while $feeder->{harness}->pumpable && time < $until;
	eval { $feeder->{harness}->finish };
}

# ---- What is left ----

$node->poll_query_until('d', 'SELECT true') or die 'no recovery';
my $drained = $node->poll_query_until('d', 'SELECT NOT EXISTS (SELECT FROM actorstore.message)');
ok($drained, 'nothing waits');
note $node->safe_psql('d', 'SELECT * FROM actorstore.message LIMIT 10') unless $drained;

my ($tokens, $rows) = split /\|/, $node->safe_psql('d', 'SELECT (SELECT count(*) FROM started), (SELECT count(*) FROM ledger)');
note "$tokens tokens, $rows hops, " . $node->safe_psql('d', 'SELECT count(*) FROM ledger WHERE attempt > 1') . ' of them not at once';
cmp_ok($tokens, '>', 20, 'there was something to do');
is($node->safe_psql('d', 'SELECT count(*) FROM actorstore.dead_letter'), 0, 'no dead letters');
is($node->safe_psql('d', 'SELECT count(*) - count(DISTINCT message_id) FROM ledger'), 0, 'no message was handled twice');
is($node->safe_psql('d', 'SELECT count(*) FROM (SELECT FROM ledger GROUP BY token, hop HAVING count(*) > 1) AS x'), 0, 'no hop was made twice');
is($node->safe_psql('d', "SELECT count(*) FROM ledger FULL JOIN (SELECT token, hop FROM started, generate_series(1, $hops) AS hop) AS wanted
	USING (token, hop) WHERE wanted.token IS NULL OR ledger.token IS NULL"), 0, 'all hops of all tokens were made, and no others');
is($node->safe_psql('d', "SELECT count(*) FROM (SELECT actor_id, (value ->> 'count')::int AS n FROM actorstore.actor_ring) AS a
	FULL JOIN (SELECT actor::text AS actor_id, count(*) AS n FROM ledger GROUP BY actor) AS l USING (actor_id)
	WHERE a.n IS DISTINCT FROM l.n"), 0, 'each actor has counted its hops');
is($node->safe_psql('d', 'SELECT count(*) FROM forbidden'), 0, 'what was taken back was not sent');

# ---- And all is quiet ----

ok($node->poll_query_until('d', "SELECT used_slots = 0 AND queued = 0 AND swept FROM actorstore.stat_scheduler"), 'no slot is left')
  or note $node->safe_psql('d', 'SELECT * FROM actorstore.stat_scheduler');
ok($node->poll_query_until('d', "SELECT count(*) = 3 AND bool_and(state = 'sleeping') FROM actorstore.stat_workers"), 'all workers are there, and asleep')
  or note $node->safe_psql('d', 'SELECT * FROM actorstore.stat_workers');
$node->stop;
done_testing();
