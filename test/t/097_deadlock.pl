# Deadlocks that go through several nodes: found, the youngest ended, and nobody else.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my @nodes = new_cluster('one', 'two', 'three', { faults => 1, settings => "deadlock_timeout = 100ms\nlog_min_messages = debug1\nactorstore.peer_timeout = 3s" });
my ($one, $two, $three) = @nodes;
foreach my $node (@nodes)
{
	$node->safe_psql('d', q{
		CREATE TABLE account (id int PRIMARY KEY, amount int);
		INSERT INTO account SELECT i, 0 FROM generate_series(1, 20) AS i;
		CREATE TABLE late (id int);
		CREATE FUNCTION lock_late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM FROM account WHERE id = NEW.id FOR UPDATE; RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lock_late()});
	ok(comes_true($node, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore resolver')}), 'a resolver on ' . $node->name);
}

sub there { my ($name, $sql) = @_; return "SELECT row_count FROM actorstore.execute_on_nodes(\$s\$$sql\$s\$, '{}', '{$name}')"; }
sub add { my ($id) = @_; return "UPDATE account SET amount = amount + 1 WHERE id = $id"; }
sub amounts { my ($id) = @_; return join ' ', map { $_->safe_psql('d', "SELECT amount FROM account WHERE id = $id") } @nodes; }
sub session { my ($node) = @_; return ActorstoreTest::Session->new($node, 'd', '-v', 'VERBOSITY=verbose'); }

# Somebody waits for a lock on a node, so many do.
sub waiting
{
	my ($node, $n) = @_;
	$n //= 1;
	return comes_true($node, 'd', "(SELECT count(*) = $n FROM pg_locks WHERE NOT granted)");
}

# These statements were started and wait for one another: exactly one, the victim, fails.
sub victim_is
{
	my ($name, $victim, @others) = @_;
	my $answer = $victim->finish;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($answer, qr/^ERROR:  40P01: deadlock detected/, "$name: the victim");
	$victim->query('ROLLBACK');
	foreach my $other (@others)
	{
		unlike($other->finish, qr/ERROR/, "$name: who is not goes on");
		unlike($other->query('COMMIT'), qr/ERROR/, "$name: and commits");
	}
	return $answer;
}

my ($a, $b, $c, $plain) = (session($one), session($one), session($one), session($two));
my ($at_two, $at_three) = (session($two), session($three));

# Two members each: A waits on three, B on two.  Nobody waits where both are coordinated.
$a->query('BEGIN'); $a->query(there('two', add(1)));
$b->query('BEGIN'); $b->query(there('three', add(1)));
$a->start(there('three', add(1))); waiting($three);
$b->start(there('two', add(1)));
my $answer = victim_is('two members', $b, $a);
like($answer, qr/DETAIL:  On node "two" process \d+ for process $b->{pid} on node "one" waits for ShareLock on transaction \d+; blocked by process \d+ for process $a->{pid} on node "one"\.\nOn node "three" process \d+ for process $a->{pid} on node "one" waits for ShareLock on transaction \d+; blocked by process \d+ for process $b->{pid} on node "one"\.\nHINT:  Repeat the transaction\./,
	'two members: the cycle, from the victim on');
is(amounts(1), '0 1 1', 'two members: one of them');

# The coordinator's own locks.
$a->query('BEGIN'); $a->query(add(2)); $a->query(there('three', 'SELECT 1'));
$at_two->query('BEGIN'); $at_two->query(there('three', 'SELECT 1')); $at_two->query(add(2));
$a->start(there('two', add(2))); waiting($two);
$at_two->start(there('one', add(2)));
$answer = victim_is('coordinators hold', $at_two, $a);
like($answer, qr/DETAIL:  On node "one" process \d+ for process $at_two->{pid} on node "two" waits for \w+ on transaction \d+; blocked by process $a->{pid}\.\nOn node "two" process \d+ for process $a->{pid} on node "one" waits for \w+ on transaction \d+; blocked by process $at_two->{pid}\.\n/, 'coordinators hold: the cycle');
is(amounts(2), '1 1 0', 'coordinators hold: one of them');

# Both coordinators wait at home, in plain statements; the victim after an error that it got over.
$a->query('BEGIN'); $a->query(there('two', add(3)));
$at_two->query('BEGIN'); $at_two->query(there('one', add(3)));
$at_two->query('SAVEPOINT s'); like($at_two->query('SELECT 1 / 0'), qr/22012/, 'an error'); $at_two->query('ROLLBACK TO s');
$a->start(add(3)); waiting($one);
$at_two->start(add(3));
$answer = victim_is('coordinators wait', $at_two, $a);
like($answer, qr/DETAIL:  On node "two" process $at_two->{pid} waits for ShareLock on transaction \d+; blocked by process \d+ for process $a->{pid} on node "one"\.\nOn node "one" process $a->{pid} waits for .*; blocked by process \d+ for process $at_two->{pid} on node "two"\.\nHINT/, 'coordinators wait: the cycle');
is(amounts(3), '1 1 0', 'coordinators wait: one of them');

# One statement on all nodes at once meets another: all of its waits are over.
$a->query('BEGIN'); $a->query(there('two,three', add(4)));
$b->query('BEGIN'); $b->query(add(4)); $b->query(there('three', 'SELECT 1'));
$b->start(there('two,three', add(4))); waiting($two); waiting($three);
$a->start(add(4));
victim_is('several waits', $b, $a);
is(amounts(4), '1 1 1', 'several waits: one of them');

# Three nodes, a coordinator on each.
$a->query('BEGIN'); $a->query(add(5)); $a->query(there('two', 'SELECT 1'));
$at_two->query('BEGIN'); $at_two->query(add(5)); $at_two->query(there('three', 'SELECT 1'));
$at_three->query('BEGIN'); $at_three->query(add(5)); $at_three->query(there('one', 'SELECT 1'));
$a->start(there('two', add(5))); waiting($two);
$at_two->start(there('three', add(5))); waiting($three);
$at_three->start(there('one', add(5)));
$answer = $at_three->finish;
like($answer, qr/^ERROR:  40P01.*\nDETAIL:  On node "one" .*\nOn node "two" .*\nOn node "three" .*\nHINT/, 'three nodes: the youngest, and the cycle');
$at_three->query('ROLLBACK');
unlike($at_two->finish, qr/ERROR/, 'three nodes: the next goes on'); $at_two->query('COMMIT');
unlike($a->finish, qr/ERROR/, 'three nodes: then the next'); $a->query('COMMIT');
is(amounts(5), '1 2 1', 'three nodes: two of them');

# A session that knows of no other node is part of it, and never the victim.
$a->query('BEGIN'); $a->query(there('two', add(6)));
$b->query('BEGIN'); $b->query(there('three', add(6)));
$plain->query('BEGIN'); $plain->query(add(7));
$plain->start(add(6)); waiting($two);
$a->start(there('three', add(6))); waiting($three);
$b->start(there('two', add(7)));
$answer = $b->finish;
like($answer, qr/^ERROR:  40P01.*\nDETAIL:  .*blocked by process $plain->{pid}\.\nOn node "two" process $plain->{pid} waits for /, 'a session between: the victim, and the cycle');
$b->query('ROLLBACK');
unlike($a->finish, qr/ERROR/, 'a session between: one goes on'); $a->query('COMMIT');
unlike($plain->finish, qr/ERROR/, 'a session between: and so does it'); $plain->query('COMMIT');
is(amounts(6), '0 2 1', 'a session between: both'); is(amounts(7), '0 1 0', 'a session between: it');

# A queue: who waits behind a waiter waits for that one.
$a->query('BEGIN'); $a->query(there('two', 'SELECT FROM account WHERE id = 8 FOR SHARE'));
$b->query('BEGIN'); $b->query(there('three', add(8)));
$c->query('BEGIN'); $c->query(there('three', 'SELECT 1'));
$b->start(there('two', add(8))); waiting($two);
$c->start(there('two', add(8))); waiting($two, 2);
$a->start(there('three', add(8)));
like($b->finish, qr/^ERROR:  40P01/, 'a queue: the youngest of the cycle, not of the queue'); $b->query('ROLLBACK');
unlike($a->finish, qr/ERROR/, 'a queue: one goes on'); $a->query('COMMIT');
unlike($c->finish, qr/ERROR/, 'a queue: then who was behind'); $c->query('COMMIT');

# What is prepared is not ended, though it is younger; and where all are, the youngest that waits is.
$_->query(q{SET actorstore.peer_timeout = '3min'}) foreach $a, $b;
$a->query('BEGIN'); $a->query(there('three', add(9)));
$b->query('BEGIN'); $b->query(there('two', add(9))); $b->query(there('three', 'INSERT INTO late VALUES (9)'));
$b->start('COMMIT'); waiting($three);
$a->start(there('two', add(9)));
like($a->finish, qr/^ERROR:  40P01.*\nDETAIL:  .*blocked by prepared transaction "actorstore_[^"]*" for process $b->{pid} on node "one"\.\n/, 'prepared: the other one');
$a->query('ROLLBACK');
is($b->finish, '', 'prepared: it commits');
is(amounts(9), '0 1 0', 'prepared: it');
$a->query('BEGIN'); $a->query(there('two', add(10))); $a->query(there('three', 'INSERT INTO late VALUES (10)'));
$b->query('BEGIN'); $b->query(there('three', add(10))); $b->query(there('two', 'INSERT INTO late VALUES (10)'));
$a->start('COMMIT'); $b->start('COMMIT');
like($b->finish, qr/^ERROR:  40P01/, 'all prepared in part: the youngest');
is($a->finish, '', 'all prepared in part: the other commits');
is(amounts(10), '0 1 0', 'all prepared in part: it');
is($three->safe_psql('d', 'SELECT string_agg(id::text, $$,$$) FROM late'), '9,10', 'what was put off, too');

# lock_timeout travels and comes first; the look for deadlocks comes much later here.
sub deadlock_timeout
{
	my ($value) = @_;
	foreach my $node (@nodes)
	{
		$node->safe_psql('d', "ALTER SYSTEM SET deadlock_timeout = '$value'; SELECT pg_reload_conf()");
		$node->poll_query_until('d', "SELECT current_setting('deadlock_timeout') = '$value'") or die;
	}
	return;
}
deadlock_timeout('1min');
$a->query('BEGIN'); $a->query(there('two', add(11)));
$b->query(q{BEGIN; SET LOCAL lock_timeout = '20ms'}); $b->query(there('three', add(11)));
$a->start(there('three', add(11))); waiting($three);
like($b->query(there('two', add(11))), qr/^ERROR:  55P03/, 'lock_timeout'); $b->query('ROLLBACK');
unlike($a->finish, qr/ERROR/, 'lock_timeout: the other one goes on'); $a->query('COMMIT');
deadlock_timeout('100ms');

# A deadlock within one node is the server's.
$a->query('BEGIN'); $a->query(there('two', add(12)));
$b->query('BEGIN'); $b->query(there('two', add(13)));
$a->start(there('two', add(13))); waiting($two);
$b->start(there('two', add(12)));
my @answers = ($a->finish, $b->finish);
is(scalar(grep { /^ERROR:  40P01.*\nDETAIL:  Process \d+ waits/ } @answers), 1, 'one node: one victim, of the server');
is(scalar(grep { !/ERROR/ } @answers), 1, 'one node: the other goes on');
$_->query('ROLLBACK') foreach $a, $b;

# What is over between the looks was no deadlock; nor is what has come back, till it is looked at anew.
sub fault
{
	my ($value) = @_;
	$_->safe_psql('d', "ALTER SYSTEM SET actorstore.fault = '$value'; SELECT pg_reload_conf()") foreach @nodes;
	foreach my $node (@nodes) { $node->poll_query_until('d', "SELECT current_setting('actorstore.fault') = '$value'") or die; }
	return;
}
sub logged { my ($pattern, @where) = @_; my $n = 0; foreach my $node (@where) { my @found = slurp_file($node->logfile) =~ /$pattern/g; $n += @found; } return $n; }
sub unconfirmed { return logged(qr/looked for deadlocks: [^\n]* 1 cycles, 0 confirmed/, $two, $three); }
sub ended { return logged(qr/deadlock over several nodes/, $two, $three); }
foreach my $back (0, 1)
{
	my ($before, $ended) = (unconfirmed(), ended());

	fault('deadlock:wait');
	$a->query('BEGIN'); $a->query(there('two', add(14)));
	$b->query('BEGIN'); $b->query(there('three', add(14))) if $back; $b->query('SAVEPOINT s'); $b->query(there('three', add(14))) if !$back;
	$a->start(there('three', add(14))); waiting($three);
	$b->start(there('two', add(14))); waiting($two);
	reached($_, 'deadlock') foreach $two, $three;
	$one->safe_psql('d', "SELECT pg_cancel_backend($b->{pid})");
	like($b->finish, qr/^ERROR:  57014/, "between the looks $back: one of the waits ends");
	$b->query('ROLLBACK TO s');
	if ($back) { $b->start(there('two', add(14))); waiting($two); }
	else { unlike($a->finish, qr/ERROR/, 'between the looks: nothing was ended'); }
	fault('');
	release($_, 'deadlock') foreach $two, $three;
	if ($back) { victim_is('back again', $b, $a); }
	else { $_->query('COMMIT') foreach $a, $b; }
	my $until = time + patience();
	until ((unconfirmed() >= $before + 2 && ended() >= $ended + $back) || time > $until) { usleep(10000); }
	cmp_ok(unconfirmed(), '>=', $before + 2, "between the looks $back: seen on both nodes, confirmed on neither");
	is(ended(), $ended + $back, "between the looks $back: then ended once, if it is there");
}

# A node that stands still: deadlocks of the others are found; its own, once it goes on.
$_->query(q{SET actorstore.peer_timeout = '3min'}) foreach $a, $b, $c;
my @still = rows($three, 'd', q{SELECT pid FROM pg_stat_activity});
$a->query('BEGIN'); $a->query(there('three', add(15)));
$b->query('BEGIN'); $b->query(there('two', add(15)));
$c->query('BEGIN'); $c->query(add(16));
$at_two->query('BEGIN'); $at_two->query(add(16));
push @still, rows($three, 'd', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()}), $three->{_pid};
my %still = map { $_ => 1 } @still;
kill 'STOP', $_ foreach keys %still;
$b->start(there('three', add(15)));
$c->start(there('two', add(16))); waiting($two);
$at_two->start(there('one', add(16)));
victim_is('a node stands still', $at_two, $c);
$a->start(there('two', add(15))); waiting($two);
usleep(500000);
ok(!$a->done && !$b->done, 'what goes through it is not judged');
kill 'CONT', $_ foreach keys %still;
victim_is('it goes on', $b, $a);

# Many waits, longer than deadlock_timeout and shorter, none in a circle, on all nodes.  Half of the sessions take some
# locks in the same order (all of them, and the others would queue at the first), the others one at a time from anywhere: put together from different moments these would seem to be in one.
deadlock_timeout('10ms');
$one->safe_psql('d', 'CREATE SEQUENCE counted');
my @looks = map { logged(qr/looked for deadlocks/, $_) } @nodes;
my $storm = q{DO $do$
DECLARE
	until timestamptz := clock_timestamp() + interval '4 s';
	names text[] := '{one,two,three}';
	ordered boolean := pg_backend_pid() % 2 = 0;
	n int;
BEGIN
	WHILE clock_timestamp() < until LOOP
		IF ordered THEN
			n := 1 + random() * 2;
			FOR i IN n .. n + (random() * (3 - n))::int LOOP
				PERFORM actorstore.execute_on_nodes(format('SELECT pg_advisory_xact_lock(%s)', i), '{}', names[i : i]);
			END LOOP;
		ELSE
			n := 1 + random() * 2;
			PERFORM actorstore.execute_on_nodes(format('SELECT pg_advisory_xact_lock(%s)', n), '{}', names[n : n]);
			n := 1 + (n + random()) :: int % 3;
			PERFORM actorstore.execute_on_nodes(format('SELECT pg_try_advisory_xact_lock(%s)', n), '{}', names[n : n]);
		END IF;
		IF random() < 0.005 THEN PERFORM pg_sleep(0.03); END IF;
		PERFORM nextval('counted');
		COMMIT;
	END LOOP;
END $do$};
my @storm = map { session($nodes[$_ % 3]) } 0 .. 11;
$one->safe_psql('d', 'SELECT nextval($$counted$$)');
$_->safe_psql('d', 'CREATE SEQUENCE IF NOT EXISTS counted') foreach $two, $three;
$_->start($storm) foreach @storm;
@answers = map { $_->finish } @storm;
is(join('', @answers), '', 'no victim where there is no circle');
my $count = 0;
$count += $_->safe_psql('d', 'SELECT last_value FROM counted') foreach @nodes;
my @later = map { logged(qr/looked for deadlocks/, $_) } @nodes;
cmp_ok($count, '>', 100, "transactions: $count");
cmp_ok($later[$_], '>', $looks[$_], "$nodes[$_]{_name} has looked: " . ($later[$_] - $looks[$_]) . ' times') foreach 0 .. 2;
diag("$count transactions, looks: @looks, @later") if $ENV{TELL};

$_->quit foreach $a, $b, $c, $plain, $at_two, $at_three, @storm;
$_->stop foreach @nodes;
done_testing();
