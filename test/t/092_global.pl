# Transactions over several nodes: on all or on none, whatever ends them, and
# what they may not do.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { settings => 'deadlock_timeout = 10s' });
my ($one, $two, $three) = @nodes;
$_->safe_psql('d', 'CREATE TABLE account (id int PRIMARY KEY, amount int CHECK (amount >= 0)); INSERT INTO account SELECT i, 100 FROM generate_series(1, 10) AS i') foreach @nodes;

sub amounts { my ($id) = @_; return join ' ', map { $_->safe_psql('d', "SELECT amount FROM account WHERE id = $id") } @nodes; }
sub on { my ($names, $sql, @params) = @_;
	return sprintf q{SELECT * FROM actorstore.execute_on_nodes($s$%s$s$, %s, %s)}, $sql,
	  @params ? 'ARRAY[' . join(', ', map { defined $_ ? "'$_'" : 'NULL' } @params) . ']' : q{'{}'}, $names ? "'{$names}'" : 'NULL'; }
my $session = ActorstoreTest::Session->new($one, 'd');
sub q1 { return $session->query($_[0]); }
sub nothing_left
{
	my ($name) = @_;
	foreach my $node (@nodes)
	{
		ok(comes_true($node, 'd', q{NOT EXISTS (SELECT FROM pg_prepared_xacts) AND NOT EXISTS (SELECT FROM actorstore.in_doubt)}), "$name: nothing in doubt on " . $node->name);
	}
}

# All, some, one.
is(q1(on('', 'UPDATE account SET amount = amount + $1 WHERE id = $2', 1, 1)), "one|1\ntwo|1\nthree|1", 'on all nodes');
is(amounts(1), '101 101 101', 'committed');
is(q1(on('three,two,three', 'UPDATE account SET amount = amount + $1 WHERE id <= $2', 5, 3)), "three|3\ntwo|3", 'on some, each once, in the order named');
is(amounts(2), '100 105 105', 'committed there');
is(q1(on('two', 'INSERT INTO account VALUES ($1, $2)', 11, undef)), 'two|1', 'on one, with a NULL');
my $hostile = q{x''); DROP TABLE account; SELECT (''$1 \\ };
is(q1(on('', 'CREATE TABLE said (what text)')), "one|0\ntwo|0\nthree|0", 'a table');
is(q1(on('', 'INSERT INTO said VALUES ($1)', $hostile)), "one|1\ntwo|1\nthree|1", 'a parameter that looks like a statement');
is($_->safe_psql('d', 'SELECT what FROM said'), $hostile =~ s/''/'/gr, 'is a value on ' . $_->name) foreach @nodes;
is(q1(on('', 'SELECT * FROM account WHERE id > $1', 10)), "one|0\ntwo|1\nthree|0", 'rows read');
is(q1(on('', 'SELECT')), "one|1\ntwo|1\nthree|1", 'no columns');
is(q1(on('two,one', 'UPDATE account SET amount = $1::int + $1::int WHERE id = 10', 7)), "two|1\none|1", 'a type that is written');
is(q1(on('{}' x 0, 'CREATE TABLE made (t text)')), "one|0\ntwo|0\nthree|0", 'utility command');
is(q1(q{SET search_path = actorstore, public; } . on('two', 'INSERT INTO made SELECT count(*) FROM stat_types')), 'two|1', 'search_path travels');
q1('RESET search_path');
nothing_left('so far');
is($two->safe_psql('d', 'SELECT count(*) FROM actorstore.receipt'), '0', 'no receipt is kept') if comes_true($two, 'd', 'NOT EXISTS (SELECT FROM actorstore.receipt)');

# The same statement again: its plan is kept, and follows the tables.
my $kept = 'INSERT INTO made VALUES ($1)';
is(q1(on('one', $kept, 7)), 'one|1', 'a statement');
is(q1(on('one', $kept)), 'ERROR:  42P02', 'with too few parameters');
q1('ALTER TABLE made ALTER t TYPE int USING t::int');
is(q1(on('one', $kept, 'x')), 'ERROR:  22P02', 'when its table has changed');
q1('ALTER TABLE made ALTER t TYPE text');
is(q1(on('one', $kept, 'x')), 'one|1', 'and once more');
q1('CREATE SCHEMA other CREATE TABLE made (t int)');
q1('SET search_path = other');
is(q1(on('one', $kept, 'x')), 'ERROR:  22P02', 'when the name is that of another table');
q1('RESET search_path');
q1('CREATE FUNCTION many() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN FOR i IN 1 .. 40 LOOP PERFORM actorstore.execute_on_nodes(format($s$INSERT INTO made SELECT %s$s$, i), $s${}$s$, $s${one}$s$); END LOOP; RETURN 1; END $f$');
is(q1(on('one', 'SELECT many()')), 'one|1', 'a statement of many statements') foreach 1, 2;
is($one->safe_psql('d', 'SELECT count(*) FROM made'), '82', 'all of them');

# Undone: the client's ROLLBACK, an error here, there, at the commit.
q1('BEGIN'); q1(on('', 'UPDATE account SET amount = 0 WHERE id = 4')); q1('ROLLBACK');
is(amounts(4), '100 100 100', 'rolled back');
is(q1(on('', 'UPDATE account SET amount = amount - 103 WHERE id IN (1, 2)')), 'ERROR:  23514', 'an error here or there');
$three->safe_psql('d', 'UPDATE account SET amount = 1 WHERE id = 4');
is(q1(on('', 'UPDATE account SET amount = amount - 50 WHERE id = 4')), 'ERROR:  23514', 'an error on one of them');
is(amounts(4), '100 100 1', 'none');
$three->safe_psql('d', q{CREATE TABLE late (t text, UNIQUE (t) DEFERRABLE INITIALLY DEFERRED); INSERT INTO late VALUES ('a')});
q1('BEGIN'); q1(on('one,two', 'UPDATE account SET amount = 55 WHERE id = 5'));
is(q1(on('three', q{INSERT INTO late VALUES ('a')})), 'three|1', 'an error that is put off');
is(q1('COMMIT'), 'ERROR:  23505', 'comes at the commit');
is(amounts(5), '100 100 100', 'none');
is(q1(on('three', q{INSERT INTO late VALUES ('a')})), 'ERROR:  23505', 'in one phase, too');

# Savepoints.
q1('BEGIN'); q1(on('two', 'UPDATE account SET amount = 1 WHERE id = 6')); q1('SAVEPOINT a');
q1(on('', 'UPDATE account SET amount = 2 WHERE id = 6')); q1('SAVEPOINT b');
is(q1(on('three', 'UPDATE account SET amount = -2 WHERE id = 6')), 'ERROR:  23514', 'an error in a savepoint');
q1('ROLLBACK TO b'); q1(on('three', 'UPDATE account SET amount = 3 WHERE id = 6')); q1('RELEASE b');
is(q1('COMMIT'), '', 'the rest commits');
is(amounts(6), '2 2 3', 'all of it');
q1('BEGIN'); q1(on('two', 'UPDATE account SET amount = 1 WHERE id = 7')); q1('SAVEPOINT a');
q1(on('', 'UPDATE account SET amount = 2 WHERE id = 7')); q1('ROLLBACK TO a'); q1('COMMIT');
is(amounts(7), '100 1 100', 'rolled back to a savepoint');
is(q1(q{DO $do$ BEGIN FOR i IN 1 .. 50 LOOP BEGIN
	PERFORM actorstore.execute_on_nodes('UPDATE account SET amount = amount + 1 WHERE id = 8', '{}', '{two,three}');
	IF i % 2 = 0 THEN PERFORM actorstore.execute_on_nodes('SELECT 1 / 0', '{}', '{two}'); END IF;
	EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $do$}), '', 'many subtransactions');
is(amounts(8), '100 125 125', 'every second one');
q1('BEGIN'); q1("SAVEPOINT s$_") foreach 1 .. 40; q1(on('two', 'UPDATE account SET amount = 40 WHERE id = 9'));
q1('ROLLBACK TO s20'); q1(on('three', 'UPDATE account SET amount = 41 WHERE id = 9')); q1('RELEASE s1'); is(q1('COMMIT'), '', 'deeply nested');
is(amounts(9), '100 100 41', 'as far as it was not undone');

# Isolation.
q1('BEGIN ISOLATION LEVEL REPEATABLE READ'); q1(on('', 'SELECT FROM account'));
$two->safe_psql('d', 'UPDATE account SET amount = 500 WHERE id = 3');
is(q1(on('two', 'SELECT FROM account WHERE amount = 500')), 'two|0', 'one snapshot on each node');
is(q1(on('two', 'UPDATE account SET amount = 501 WHERE id = 3')), 'ERROR:  40001', 'which can be too old');
q1('ROLLBACK');
q1('BEGIN READ ONLY'); is(q1(on('two', 'UPDATE account SET amount = 501 WHERE id = 3')), 'ERROR:  25006', 'read only'); q1('ROLLBACK');
q1('BEGIN ISOLATION LEVEL SERIALIZABLE'); q1(on('two', 'UPDATE account SET amount = 502 WHERE id = 3')); is(q1('COMMIT'), '', 'serializable');
is($two->safe_psql('d', 'SELECT amount FROM account WHERE id = 3'), '502', 'committed');

# One phase where one node wrote, two where two did.
sub phases { return $one->safe_psql('d', q{SELECT string_agg(one_phase || ' ' || prepared || ' ' || committed || ' ' || rolled_back, ',' ORDER BY node_name) FROM actorstore.stat_peers}); }
sub added { my ($sql) = @_; my @before = split /[ ,]/, phases(); q1($_) foreach @$sql; my @after = split /[ ,]/, phases(); return join ' ', map { $after[$_] - $before[$_] } 0 .. $#after; }
is(added([on('two', 'UPDATE account SET amount = 1 WHERE id = 1')]), '0 0 0 0 1 0 0 0', 'one phase');
is(added([on('two,one', 'UPDATE account SET amount = 1 WHERE id = 1')]), '0 0 0 0 0 1 1 0', 'two phases with this node');
is(added([on('two,three', 'UPDATE account SET amount = 1 WHERE id = 1')]), '0 1 1 0 0 1 1 0', 'and without');
is(added(['BEGIN', on('two', 'UPDATE account SET amount = 1 WHERE id = 1'), on('three', q{INSERT INTO late VALUES ('a')}), 'COMMIT']), '0 0 0 0 0 1 0 1', 'prepared on one, and rolled back as the other one cannot');
is(added(['BEGIN', on('', 'SELECT FROM account'), 'COMMIT']), '0 0 0 0 0 0 0 0', 'none to read');
is(added(['BEGIN', on('two', 'SELECT FROM account FOR SHARE'), on('one', 'UPDATE account SET amount = 1 WHERE id = 1'), 'COMMIT']), '0 0 0 0 0 1 1 0', 'a lock is a write');
is(added([q{SET actorstore.wait_for_phase_two = off}, map({ on('', "UPDATE account SET amount = $_ WHERE id = 10") } 1 .. 5), q{RESET actorstore.wait_for_phase_two}]), '0 5 0 0 0 5 0 0', 'the answer follows the decision');
ok(comes_true($_, 'd', '(SELECT amount = 5 FROM account WHERE id = 10)'), 'and is true soon on ' . $_->name) foreach @nodes;
is($one->safe_psql('d', qq{SELECT state, node_names FROM actorstore.global_transaction WHERE pid = $session->{pid}}), 'committed|{two,three}', 'a life');
nothing_left('in the end');

# What it may not do.
sub refused { my ($code, $name, @sql) = @_; q1('BEGIN'); my $answer = ''; foreach (@sql) { $answer = q1($_); } is($answer, "ERROR:  $code", $name); q1('ROLLBACK'); }
my $write = on('', 'UPDATE account SET amount = 99 WHERE id = 10');
refused('0A000', 'NOTIFY before', 'NOTIFY x', $write);
refused('0A000', 'pg_notify before', q{SELECT pg_notify('x', '')}, $write);
refused('0A000', 'LISTEN before', 'LISTEN x', $write);
refused('0A000', 'NOTIFY after', $write, 'NOTIFY x');
refused('0A000', 'pg_notify after', $write, q{SELECT pg_notify('x', '')}, 'COMMIT');
refused('0A000', 'temporary table before', 'CREATE TEMP TABLE x ()', $write);
refused('0A000', 'temporary table after', $write, 'CREATE TEMP TABLE x ()');
refused('0A000', 'cursor WITH HOLD before', 'DECLARE c CURSOR WITH HOLD FOR SELECT 1', $write);
refused('0A000', 'cursor WITH HOLD after', $write, 'DECLARE c CURSOR WITH HOLD FOR SELECT 1');
refused('0A000', 'PREPARE TRANSACTION', $write, q{PREPARE TRANSACTION 'x'});
refused('0A000', "$_->[1] there", on('two', $_->[0])) foreach ['COMMIT', 'COMMIT'], ['NOTIFY x', 'NOTIFY'], ['LISTEN x', 'LISTEN'], [q{PREPARE TRANSACTION 'x'}, 'PREPARE'], ['DISCARD ALL', 'DISCARD'];
refused('0A000', 'temporary table there', on('two', 'CREATE TEMP TABLE x ()'));
refused(with_tls() ? '42501' : '0A000', 'other nodes there', on('two', q{SELECT actorstore.execute_on_nodes('SELECT 1')}));
refused('42601', 'two statements', on('two', 'SELECT 1; SELECT 2'));
refused('42601', 'no statement', on('two', ''));
refused('42601', 'nonsense', on('two', 'SELEC 1'));
refused('42704', 'unknown node', on('two,four', 'SELECT 1'));
refused('42P02', "too few parameters on $_", on($_, 'SELECT $1::int + $2::int', 1)) foreach qw(one two one,two);
refused('42P02', "too many parameters on $_", on($_, 'SELECT $1::int', 1, 2)) foreach qw(one two one,two);
refused('42P02', "parameters that nobody takes on $_", on($_, 'CREATE TABLE no_such ()', 1)) foreach qw(one two);
refused('22P02', 'a value that is none', on('two', 'SELECT $1::int', 'x'));
refused('22P02', 'here, too', on('one', 'SELECT $1::int', 'x'));
is(amounts(10), '5 5 5', 'nothing done');
$one->safe_psql('d', 'CREATE ROLE somebody; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA actorstore TO somebody');
is(q1('SET ROLE somebody; ' . on('one', 'SELECT 1')), 'ERROR:  42501', 'not by others');
q1('RESET ROLE');

# Cancelled while another node waits for a lock: nothing waits there any more.
my $blocker = ActorstoreTest::Session->new($two, 'd');
$blocker->query('BEGIN'); $blocker->query('UPDATE account SET amount = 7 WHERE id = 1');
is(q1(q{SET statement_timeout = '200ms'; } . on('', 'UPDATE account SET amount = 8 WHERE id = 1')), 'ERROR:  57014', 'statement_timeout');
q1('RESET statement_timeout');
ok(comes_true($two, 'd', q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')}), 'nobody waits there');
q1('BEGIN'); q1(on('two', 'UPDATE account SET amount = 9 WHERE id = 2')); q1('SAVEPOINT a');
is(q1(q{SET LOCAL lock_timeout = '100ms'; } . on('', 'UPDATE account SET amount = 8 WHERE id = 1')), 'ERROR:  55P03', 'lock_timeout travels');
q1('ROLLBACK TO a');
is(q1('COMMIT'), '', 'the rest goes on');
is($two->safe_psql('d', 'SELECT amount FROM account WHERE id = 2'), '9', 'committed');
$blocker->query('ROLLBACK');

# The peer ends the connection: before the commit the transaction is lost.
q1('BEGIN'); q1(on('', 'UPDATE account SET amount = 66 WHERE id = 6'));
$two->safe_psql('d', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND state = 'idle in transaction'});
ok(comes_true($two, 'd', q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND state = 'idle in transaction')}), 'ended there');
is(q1('COMMIT'), 'ERROR:  08006', 'lost');
is(amounts(6), '2 2 3', 'none');
is(q1(on('', 'UPDATE account SET amount = 6 WHERE id = 6')), "one|1\ntwo|1\nthree|1", 'the next one goes on');

# A node that is not there; room for prepared transactions.
$two->stop;
is(q1(on('', 'UPDATE account SET amount = 67 WHERE id = 6')), 'ERROR:  08006', 'out of reach');
$two->append_conf('postgresql.conf', 'max_prepared_transactions = 0');
$two->start;
is(q1(on('', 'UPDATE account SET amount = 67 WHERE id = 6')), 'ERROR:  55000', 'no prepared transactions there: refused at the start');
sub complaint { my (undef, undef, $complaint) = $one->psql('d', on('', 'UPDATE account SET amount = 67 WHERE id = 6')); return $complaint; }
like(complaint(), qr/^HINT:  .*postgresql\.conf.*max_prepared_transactions = 50$/m, 'with the line to add');
$two->append_conf('postgresql.conf', 'max_prepared_transactions = 1');
$two->restart;
$two->safe_psql('d', q{BEGIN; UPDATE account SET amount = 1 WHERE id = 1; PREPARE TRANSACTION 'of somebody'});
is(q1(on('', 'UPDATE account SET amount = 67 WHERE id = 6')), 'ERROR:  55000', 'all places are taken');
like(complaint(), qr/^HINT:  .*postgresql\.conf.*max_prepared_transactions = 50$/m, 'with the line to add, too');
is(amounts(6), '6 6 6', 'none');
is(q1(q{SELECT actorstore.resolve_in_doubt()}), '0', 'the resolver has nothing to do');
is($two->safe_psql('d', 'SELECT gid FROM pg_prepared_xacts'), 'of somebody', 'and leaves alone what is not ours');
$two->safe_psql('d', q{ROLLBACK PREPARED 'of somebody'});
is(q1(on('', 'UPDATE account SET amount = 67 WHERE id = 6')), "one|1\ntwo|1\nthree|1", 'there is room again');
nothing_left('at last');
ok($one->safe_psql('d', q{SELECT count(*) FROM actorstore.decision}) == 0 && comes_true($three, 'd', 'NOT EXISTS (SELECT FROM actorstore.receipt)'), 'no rows are left');

$_->quit foreach $session, $blocker;
$_->stop foreach @nodes;
done_testing();
