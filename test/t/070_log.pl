# What the server's log says of workers and of messages that fail: the texts, and that there are not too many.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('log', settings => "actorstore.workers = 1\nlog_min_messages = log\nfsync = off");

sub sql { return $node->safe_psql('d', $_[0], kept => 1); }

# Wait until the log has a line, from an offset on; returns what it has matched.
sub logged
{
	my ($pattern, $what, $offset) = @_;
	my $until = time + patience();
	my @found;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	until (@found = slurp_file($node->logfile, $offset // 0) =~ $pattern)
	{
		last if time > $until;
		usleep(50_000);
	}
	ok(@found > 0, $what);
	return @found;
}

new_database_with_actors($node, 'd');
logged(qr/LOG:  actorstore worker 0 has started in database "d"$/m, 'a worker starts');

sql(q{
	CREATE FUNCTION fail(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF body ->> 'what' = 'reject' THEN PERFORM actorstore.reject('I will not'); END IF;
		RAISE EXCEPTION 'cannot %', body ->> 'what' USING ERRCODE = '22012';
	END $$;
	SELECT actorstore.create_type('t', backoff => '10 ms', max_attempts => 3);
	SELECT actorstore.set_handler('t', 'fail', 'public.fail(jsonb, jsonb)'), actorstore.set_handler('t', 'collect', 'public.collect(jsonb, jsonb)');
});

# ---- Dead letters ----

my $offset = -s $node->logfile;
my $id = sql(q{SELECT actorstore.send('t', 'a', 'fail', '{"what": "divide"}')});
ok(handled($node, 'd', 't'), 'given up');
logged(qr/LOG:  message $id \(fail\) to actor \(t, a\) is a dead letter: exhausted\n.*DETAIL:  Attempts: 3; SQLSTATE: 22012; error: cannot divide$/m,
	'exhausted', $offset);
$id = sql(q{SELECT actorstore.send('t', 'a', 'fail', '{"what": "reject"}')});
logged(qr/LOG:  message $id \(fail\) to actor \(t, a\) is a dead letter: rejected\n.*DETAIL:  Attempts: 1; SQLSTATE: none; error: I will not$/m,
	'rejected', $offset);
$id = sql(q{SELECT actorstore.send('t', 'a', 'unheard')});
logged(qr/LOG:  message $id \(unheard\) to actor \(t, a\) is a dead letter: no handler\n.*DETAIL:  Attempts: 0; SQLSTATE: VA004; error: actor type "t" has no handler for message "unheard"$/m,
	'no handler', $offset);
sql(q{SELECT actorstore.tell('t', 'a', 'fail', '{"what": "hear"}')});
logged(qr/LOG:  message fail told to actor \(t, a\) has failed: cannot hear$/m, 'told', $offset);
unlike(slurp_file($node->logfile, $offset), qr/is tried again/, 'attempts are not logged');

# ---- Retries ----

ok(set_everywhere($node, 'd', 'actorstore.log_retries', 'on'), 'attempts are to be logged');
logged(qr/LOG:  actorstore worker 0 has ended and is started again\n.*DETAIL:  It served the database with OID \d+\.$/m, 'restart', $offset);
$offset = -s $node->logfile;
$id = sql(q{SELECT actorstore.send('t', 'b', 'fail', '{"what": "wait"}')});
ok(handled($node, 'd', 't'), 'given up');
foreach my $attempt (1, 2)
{
	logged(qr/LOG:  message $id \(fail\) to actor \(t, b\) is tried again in \d+ ms\n.*DETAIL:  Attempts: $attempt of 3; SQLSTATE: 22012; error: cannot wait$/m,
		"attempt $attempt", $offset);
}
is(() = slurp_file($node->logfile, $offset) =~ /is tried again/g, 2, 'two attempts, two lines');
ok(set_everywhere($node, 'd', 'actorstore.log_retries', 'off'), 'and are not');

# ---- Workers ----

$offset = -s $node->logfile;
ok(set_everywhere($node, 'd', 'actorstore.log_workers', 'off'), 'workers are not to be logged');
sql(q{SELECT actorstore.send('t', 'w', 'collect', '1')});
ok(handled($node, 'd', 't'), 'another one is at work');
unlike(slurp_file($node->logfile, $offset), qr/has started in database/, 'which nobody says');
ok(set_everywhere($node, 'd', 'actorstore.log_workers', 'on'), 'and are again');
logged(qr/LOG:  actorstore worker 0 has started in database "d"$/m, 'the next one starts', $offset);

# ---- Not too many ----

ok(set_everywhere($node, 'd', 'actorstore.log_limit', '3'), 'a limit');
$offset = -s $node->logfile;
sql(q{SELECT actorstore.send_many('t', array_agg('c'::text), 'unheard', array_agg('{}'::jsonb)) FROM generate_series(1, 500)});
ok(handled($node, 'd', 't'), 'all are given up');
is(sql(q{SELECT count(*) FROM actorstore.dead_letter WHERE actor_id = 'c'}), 500, 'and kept');

# The worker says what it has left out when it has nothing to do, at the latest when it is woken once more.
my ($lines, $left_out) = (0, 0);
my $until = time + patience();
until ($lines + $left_out >= 500 || time > $until)
{
	my $log = slurp_file($node->logfile, $offset);

	sql(q{SELECT actorstore.send('t', 'c', 'collect', '1')});
	$lines = () = $log =~ /is a dead letter: no handler/g;
	$left_out = 0;
	$left_out += $_ foreach $log =~ /LOG:  (\d+) more lines about messages were left out$/mg;
	usleep(100_000);
}
is($lines + $left_out, 500, 'each letter is written, or counted');
cmp_ok($left_out, '>', 0, 'some were left out');
cmp_ok($lines, '<', 500, 'not all were written');

# ---- The end ----

$offset = -s $node->logfile;
sql('DROP EXTENSION actorstore CASCADE');
logged(qr/LOG:  actorstore worker 0 stops in database "d"$/m, 'a worker stops', $offset);
unlike(slurp_file($node->logfile, $offset), qr/is started again/, 'which is no surprise');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
