# PREPARE goes with the statement, where that is all that a transaction does, and nothing that it does here can come back to
# the other nodes: one round trip less.  What fails afterwards rolls back what is prepared already.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

# The resolver, which speaks to other nodes, too, is not to come while trips are counted.
my @nodes = new_cluster('one', 'two', 'three', { settings => "actorstore.resolver_interval = '1h'\ndeadlock_timeout = 100ms" });
my ($one, $two, $three) = @nodes;
$one->safe_psql('d', q{SELECT actorstore.create_type('t')});
my $there = $one->safe_psql('d', q{SELECT 'a' || i FROM generate_series(1, 99) AS i WHERE actorstore.locate('t', 'a' || i) = 'two' LIMIT 1});
$one->safe_psql('d', "SELECT actorstore.put('t', '$there', '5')");
foreach my $node (@nodes)
{
	$node->safe_psql('d', <<'SQL');
CREATE TABLE account (id int PRIMARY KEY, amount int);
INSERT INTO account SELECT i, 0 FROM generate_series(1, 20) AS i;
CREATE TABLE child (id int PRIMARY KEY, account int REFERENCES account DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE watched (id int); CREATE TABLE checked (id int); CREATE TABLE tagged (id int); CREATE TABLE many (id int) PARTITION BY RANGE (id); CREATE TABLE many_one PARTITION OF many DEFAULT;
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER watch BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION watch();
CREATE FUNCTION fine(int) RETURNS bool LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN true; END';
CREATE FUNCTION steady(int) RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN $1; END';
CREATE FUNCTION fixed(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
ALTER TABLE checked ADD CHECK (fine(id));
CREATE DOMAIN tag AS int CHECK (fine(VALUE)); ALTER TABLE tagged ADD tag tag;
SQL
}

my $session = ActorstoreTest::Session->new($one, 'd');
sub q1 { return $session->query($_[0]); }
sub on { my ($nodes, $sql, @params) = @_; my $params = join ',', @params; return "SELECT node_name, row_count FROM actorstore.execute_on_nodes(\$s\$$sql\$s\$, '{$params}', '{$nodes}')"; }
sub amounts { my ($id) = @_; return join ' ', map { $_->safe_psql('d', "SELECT amount FROM account WHERE id = $id") } @nodes; }
sub prepared { my ($node, $n) = @_; return comes_true($node, 'd', "(SELECT count(*) = $n FROM pg_prepared_xacts)"); }
sub nothing_is_left { my ($name) = @_; ok(prepared($_, 0), "$name: nothing is prepared on " . $_->name) foreach @nodes; return; }
my $add = 'UPDATE account SET amount = amount + 1 WHERE id = $1';

# ---- Trips ----

# Others speak to the nodes, too, now and then: the least counts.
sub trips { return $one->safe_psql('d', q{SELECT sum(round_trips) FROM actorstore.stat_peers WHERE node_name = 'two'}); }
sub trips_once { my (@sql) = @_; my $before = trips(); unlike(q1($_), qr/ERROR/, $_) foreach @sql; return trips() - $before; }
sub trips_are
{
	my ($n, $name, @sql) = @_;
	q1($_) foreach @sql;
	my ($least) = sort { $a <=> $b } map { trips_once(@sql) } 1 .. 3;
	is($least, $n, "$name: trips");
	return;
}
is(q1(on('one,two', $add, 1)), "one|1\ntwo|1", 'the first time');
is(q1(on('one,two', $add, 1)), "one|1\ntwo|1", 'again');
is(q1(on('one,two,three', $add, 1)), "one|1\ntwo|1\nthree|1", 'on three');
is(q1(on('two,three', $add, 1)), "two|1\nthree|1", 'on two others');
is(amounts(1), '3 4 2', 'all of them are done');
trips_are(2, 'here and there', on('one,two', $add, 2));
trips_are(2, 'there only, on two nodes', on('two,three', $add, 2));
trips_are(2, 'there only, whatever it calls', on('two,three', 'INSERT INTO watched SELECT steady(1)'));
trips_are(2, 'rows with keys', on('one,two', 'INSERT INTO child SELECT coalesce(max(id), 0) + 1, 1 FROM child'));
trips_are(2, 'fixed functions', on('one,two', 'UPDATE account SET amount = fixed(1) WHERE id = 2'));
trips_are(2, 'what is the server\'s own', on('one,two', 'UPDATE account SET amount = extract(hour FROM now()) WHERE id = 2'));
trips_are(3, 'in a block', 'BEGIN', on('one,two', $add, 2), 'COMMIT');
trips_are(3, 'two statements', on('one,two', $add, 2) . '\; SELECT 1');
trips_are(3, 'a column more', "SELECT 1 FROM (" . on('one,two', $add, 2) . ") AS x WHERE row_count > 0");
trips_are(3, 'a trigger', on('one,two', 'INSERT INTO watched VALUES (1)'));
trips_are(3, 'a volatile function', on('one,two', 'UPDATE account SET amount = amount WHERE fine(id) AND id = 2'));
trips_are(3, 'a function that reads', on('one,two', 'UPDATE account SET amount = steady(1) WHERE id = 2'));
trips_are(3, 'a check that calls one', on('one,two', 'INSERT INTO checked VALUES (1)'));
trips_are(3, 'a domain', on('one,two', 'INSERT INTO tagged VALUES (1, 2)'));
trips_are(3, 'a domain in passing', on('one,two', 'INSERT INTO watched SELECT 1 WHERE 1::tag = 1'));
trips_are(3, 'a domain of a parameter', on('one,two', 'UPDATE account SET amount = 1 WHERE id = 2 AND $1::tag = 1', 1));
trips_are(3, 'partitions', on('one,two', 'INSERT INTO many VALUES (1)'));

# It becomes open by a trigger that comes, and by another table of that name.
trips_are(2, 'closed', on('one,two', 'UPDATE account SET amount = 7 WHERE id = 3'));
$one->safe_psql('d', 'CREATE TRIGGER watch BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION watch()');
trips_are(3, 'with a trigger', on('one,two', 'UPDATE account SET amount = 7 WHERE id = 3'));
$one->safe_psql('d', 'DROP TRIGGER watch ON account');
trips_are(2, 'without', on('one,two', 'UPDATE account SET amount = 7 WHERE id = 3'));

# What is executed here may go to the other nodes by itself.
$_->safe_psql('d', "CREATE TABLE copy (value jsonb)") foreach @nodes;
$one->safe_psql('d', "CREATE FUNCTION copied() RETURNS jsonb STABLE LANGUAGE sql AS \$\$SELECT value FROM actorstore.get('t', '$there')\$\$");
$_->safe_psql('d', "CREATE FUNCTION copied() RETURNS jsonb STABLE LANGUAGE sql AS 'SELECT jsonb ''5'''") foreach $two, $three;
is(q1(on('one,three', 'INSERT INTO copy SELECT copied()')), "one|1\nthree|1", 'a function that reads on another node') for 1 .. 3;
is(join(' ', map { $_->safe_psql('d', 'SELECT sum(value::text::int) FROM copy') } $one, $three), '15 15', 'has read it');

# ---- Errors ----

# here, where it is prepared there
$one->safe_psql('d', 'ALTER TABLE account ADD CHECK (amount < 100)');
$_->safe_psql('d', 'UPDATE account SET amount = 0') foreach @nodes;
q1(on('one,two,three', $add, 4));
$one->safe_psql('d', 'UPDATE account SET amount = 99 WHERE id = 4');
is(q1(on('one,two,three', $add, 4)), 'ERROR:  23514', 'an error here');
is(amounts(4), '99 1 1', 'nothing is done');
nothing_is_left('an error here');

# there
$one->safe_psql('d', 'ALTER TABLE account DROP CONSTRAINT account_amount_check');
$two->safe_psql('d', 'ALTER TABLE account ADD CHECK (amount < 2)');
q1(on('one,two,three', $add, 4));
q1(on('one,two,three', $add, 5));
q1(on('one,two,three', $add, 5));
q1(on('one,two,three', $add, 5));
my $offset = -s $two->logfile;
is(q1(on('one,two,three', $add, 5)), 'ERROR:  23514', 'an error there');
is(amounts(5), '1 1 1', 'nothing is done');
nothing_is_left('an error there');
unlike(slurp_file($two->logfile, $offset), qr/does not exist/, 'what was never prepared is not looked for');
$two->safe_psql('d', 'ALTER TABLE account DROP CONSTRAINT account_amount_check');

# there, when it is prepared; and here, when it is committed
my $insert = 'INSERT INTO child VALUES ($1, $2)';
is(q1(on('one,two', $insert, 100 + $_, 1)), "one|1\ntwo|1", 'a key') for 1 .. 2;
$two->safe_psql('d', 'DELETE FROM account WHERE id = 19');
is(q1(on('one,two', $insert, 103, 19)), 'ERROR:  23503', 'put off till the end there');
is($one->safe_psql('d', 'SELECT count(*) FROM child WHERE id > 102'), '0', 'nothing is done');
$one->safe_psql('d', 'DELETE FROM account WHERE id = 18');
is(q1(on('one,two', $insert, 103, 18)), 'ERROR:  23503', 'put off till the end here');
is($two->safe_psql('d', 'SELECT count(*) FROM child WHERE id > 102'), '0', 'nothing is done');
nothing_is_left('put off');

# ---- Waits ----

# A cancel, or the end, of a session that waits here for what another one holds, its part being prepared there.
my $holder = ActorstoreTest::Session->new($one, 'd');
foreach my $how (qw(cancel terminate))
{
	$holder->query('BEGIN'); $holder->query('UPDATE account SET amount = amount WHERE id = 6');
	my $waiter = ActorstoreTest::Session->new($one, 'd');
	$waiter->query(on('one,two', $add, 7)) for 1 .. 2;
	$waiter->start(on('one,two', $add, 6));
	ok(prepared($two, 1), "$how: prepared there");
	ok(comes_true($one, 'd', qq{EXISTS (SELECT FROM pg_stat_activity WHERE pid = $waiter->{pid} AND wait_event_type = 'Lock')}), "$how: waits here");
	is($one->safe_psql('d', 'SELECT actorstore.resolve_in_doubt()'), '0', "$how: who still works is left alone");
	ok(prepared($two, 1), "$how: still prepared there");
	$one->safe_psql('d', "SELECT pg_${how}_backend($waiter->{pid})");
	like($waiter->finish, $how eq 'cancel' ? qr/57014/ : qr/./, "$how: fails");
	ok(prepared($two, 0), "$how: and no more there");
	$waiter->quit if $how eq 'cancel';
	$holder->query('ROLLBACK');
	like(amounts(6), qr/^0 0 0$/, "$how: nothing is done");
}

# A deadlock through what is prepared.
my $victim = ActorstoreTest::Session->new($one, 'd');
$victim->query('BEGIN'); $victim->query('UPDATE account SET amount = amount + 10 WHERE id = 8');
$session->start(on('one,two', $add, 8));
ok(prepared($two, 1), 'deadlock: one is prepared there');
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM pg_locks WHERE NOT granted)}), 'deadlock: and waits here');
is($victim->query(on('two', 'UPDATE account SET amount = amount + 10 WHERE id = 8')), 'ERROR:  40P01', 'deadlock: the other one, of which nothing is prepared');
$victim->query('ROLLBACK');
is($session->finish, "one|1\ntwo|1", 'deadlock: this one goes on');
is(amounts(8), '1 1 0', 'deadlock: and is done');

# The other way round: it waits there, holding what it has changed here.
$victim = ActorstoreTest::Session->new($two, 'd');
$victim->query('BEGIN'); $victim->query('UPDATE account SET amount = amount + 10 WHERE id = 9');
$session->start(on('one,two', $add, 9));
ok(comes_true($two, 'd', q{EXISTS (SELECT FROM pg_locks WHERE NOT granted)}), 'deadlock there: one waits there');
$victim->query(q{SET lock_timeout = '20s'});
like($victim->query(on('one', 'UPDATE account SET amount = amount + 10 WHERE id = 9')), qr/40P01/, 'deadlock there: the other one');
$victim->query('ROLLBACK');
is($session->finish, "one|1\ntwo|1", 'deadlock there: this one goes on');
is(amounts(9), '1 1 0', 'deadlock there: and is done');

# What calls another node itself, which is still at work, or has prepared, where the function says that it is IMMUTABLE.
foreach my $kind (qw(VOLATILE IMMUTABLE))
{
	$_->safe_psql('d', "CREATE FUNCTION \L$kind\E_calls(int) RETURNS int LANGUAGE plpgsql $kind AS \$\$BEGIN PERFORM actorstore.put('t', '$there', to_jsonb(\$1)); RETURN \$1; END\$\$") foreach @nodes;
	is(q1(on('one,two', "UPDATE account SET amount = \L$kind\E_calls(id) WHERE id = 20")), 'ERROR:  55000', "$kind, and calls a node: refused") foreach 1 .. 2;
	is(amounts(20), '0 0 0', "$kind, and calls a node: nothing is done");
	nothing_is_left("$kind, and calls a node");
}

$_->quit foreach $session, $holder, $victim;
$_->stop foreach @nodes;
done_testing();
