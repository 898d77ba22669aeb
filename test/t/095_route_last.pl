# COMMIT goes with the command, where a call is all that a transaction does, and
# only there: what comes afterwards can undo it everywhere else.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

# The resolver, which speaks to other nodes, too, is not to come while trips are counted.
my @nodes = new_cluster('one', 'two', { settings => "actorstore.resolver_interval = '1h'" });
my ($one, $two) = @nodes;
$one->safe_psql('d', q{SELECT actorstore.create_type('t')});
my $there = $one->safe_psql('d', q{SELECT 'a' || i FROM generate_series(1, 99) AS i WHERE actorstore.locate('t', 'a' || i) = 'two' LIMIT 1});
my $session = ActorstoreTest::Session->new($one, 'd');
my $look = ActorstoreTest::Session->new($two, 'd');
sub q1 { return $session->query($_[0]); }
sub value { return $look->query("SELECT value FROM actorstore.get('t', '$there')"); }
my $put = "actorstore.put('t', '$there', '1')";

# How often another node is spoken to; others do so, too, now and then.
sub trips { return $one->safe_psql('d', 'SELECT sum(round_trips) FROM actorstore.stat_peers'); }
sub trips_once { my ($what) = @_; q1("SELECT actorstore.put('t', '$there', '0')"); my $before = trips(); $what->(); return trips() - $before; }
sub trips_of { my ($what) = @_; my ($least) = sort { $a <=> $b } map { trips_once($what) } 1 .. 3; return $least; }
sub trips_are { my ($n, $name, @sql) = @_; is(trips_of(sub { q1($_) foreach @sql }), $n, "$name: trips"); is(value(), '1', "$name: done"); return; }
trips_are(1, 'a call', "SELECT $put");
trips_are(1, 'in FROM', "SELECT version, value FROM $put");
trips_are(1, 'and a field of it', "SELECT ($put).value");
trips_are(1, 'patch', "SELECT actorstore.patch('t', '$there', '1')");
trips_are(1, 'update', "SELECT actorstore.update('t', '$there', '1')");
trips_are(2, 'in a block', 'BEGIN', "SELECT $put", 'COMMIT');
trips_are(2, 'two statements', "SELECT $put\\; SELECT 1");
trips_are(2, 'two columns', "SELECT 1, $put");
trips_are(2, 'an expression', "SELECT value || '[]' FROM $put");
trips_are(2, 'a condition', "SELECT value FROM $put WHERE version >= 0");
trips_are(2, 'a subquery', "SELECT (SELECT $put) IS NULL");
trips_are(4, 'several rows', "SELECT $put FROM generate_series(1, 3)");
trips_are(2, 'a function', "DO \$\$ BEGIN PERFORM $put; END \$\$");
trips_are(2, 'EXPLAIN', "EXPLAIN ANALYZE SELECT $put");
trips_are(3, 'SERIALIZABLE', q{SET default_transaction_isolation = 'serializable'}, "SELECT $put", 'RESET default_transaction_isolation');
is(trips_of(sub { is(q1("SELECT swapped, value FROM actorstore.compare_and_swap('t', '$there', -1, '1')"), 'f|0', 'nothing is swapped') }), 1, 'in one trip');
is(trips_of(sub { is(q1("SELECT actorstore.insert('t', '$there', '1')"), 'ERROR:  23505', 'an error') }), 1, 'in one trip, too');

# What fails behind the call takes it along.
sub undone { my ($name, $error, @sql) = @_; q1("SELECT actorstore.put('t', '$there', '0')"); my $answer; $answer = q1($_) foreach @sql; is($answer, "ERROR:  $error", "$name: fails"); is(value(), '0', "$name: undone"); return; }
undone('an expression', '22012', "SELECT 1 / (version - version) FROM $put");
undone('a column', '22012', "SELECT 1 / (i - i), $put FROM generate_series(1, 1) AS i");
undone('a condition', '22012', "SELECT FROM $put WHERE 1 / (version - version) > 0");
undone('the next row', '22012', "SELECT $put FROM generate_series(1, 3) AS i WHERE 1 / (3 - i) > 0");
undone('the next statement', '22012', "SELECT FROM $put\\; SELECT 1 / (i - i) FROM generate_series(1, 1) AS i");
undone('a block', '22012', "DO \$\$ BEGIN PERFORM $put; PERFORM 1 / (i - i) FROM generate_series(1, 1) AS i; END \$\$");
undone('a function with this name', '22012', q{CREATE FUNCTION own(id text) RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE v bigint; BEGIN SELECT version INTO v FROM actorstore.put('t', id, '1'); RETURN 1 / (v - v); END $$}, "SELECT * FROM own('$there')");
q1(q{SET client_encoding = 'LATIN1'});
undone('a character that the client does not have', '22P05', qq{SELECT value FROM actorstore.put('t', '$there', '"\\u20ac"')}) if $one->safe_psql('d', 'SHOW server_encoding') eq 'UTF8';
q1('RESET client_encoding');

# The extended protocol: the client says with Sync that it was the last.
sub bench
{
	my ($mode, $script) = @_;
	my $file = $one->basedir . '/script';
	open(my $handle, '>', $file) or die "$file: $!";
	print $handle $script;
	close $handle;
	IPC::Run::run([ 'pgbench', '-n', '-M', $mode, '-t', '1', '-f', $file, $one->connstr('d') ], '>', \my $out, '2>', \my $err);
	return $out =~ /actually processed: (\d+)/ ? $1 : die $err;
}
q1("SELECT actorstore.put('t', '$there', '0')");
# a session that is new asks who the other node is, and sends its settings, before
foreach my $mode (qw(simple extended prepared))
{
	my $one_more = trips_of(sub { is(bench($mode, "SELECT $put;\n" x 3), 1, "$mode: three transactions") }) - trips_of(sub { bench($mode, "SELECT $put;\n" x 2) });
	is($one_more, 1, "$mode: one trip each");
	is(value(), '1', "$mode: done");
}
q1("SELECT actorstore.put('t', '$there', '0')");
is(bench('extended', "\\startpipeline\nSELECT $put;\nSELECT 1 / (i - i) FROM generate_series(1, 1) AS i;\n\\endpipeline\n"), 0, 'a pipeline that fails');
is(value(), '0', 'is undone');
is(bench('extended', "\\startpipeline\nSELECT 1;\nSELECT $put;\n\\endpipeline\n"), 1, 'one that does not');
is(value(), '1', 'is done');

# A cancel while the other node waits ends both, and nothing is written.
my $blocker = ActorstoreTest::Session->new($two, 'd');
$blocker->query('BEGIN'); $blocker->query("SELECT actorstore.update('t', '$there', '60')");
$session->start("SELECT actorstore.update('t', '$there', '61')");
ok(comes_true($two, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')}), 'the owner waits');
$one->safe_psql('d', "SELECT pg_cancel_backend($session->{pid})");
is($session->finish, 'ERROR:  57014', 'cancelled');
ok(comes_true($two, 'd', q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')}), 'nobody waits there');
is(q1("SET statement_timeout = '200ms'; SELECT actorstore.update('t', '$there', '61')"), 'ERROR:  57014', 'statement_timeout'); q1('RESET statement_timeout');
is(q1("SET lock_timeout = '100ms'; SELECT actorstore.update('t', '$there', '61')"), 'ERROR:  55P03', 'lock_timeout'); q1('RESET lock_timeout');

# So does the end of the other session, as long as it has not come to COMMIT.
$session->start("SELECT actorstore.update('t', '$there', '62')");
ok(comes_true($two, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')}), 'it waits again');
$two->safe_psql('d', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'});
is($session->finish, 'ERROR:  08006', 'ended');
$blocker->query('COMMIT');
is(value(), '60', 'as the other one left it');
is(q1("SELECT (actorstore.update('t', '$there', '63')).value"), '63', 'on a new connection');

# Constraints that are checked by COMMIT.
$two->safe_psql('d', q{CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.value = '64' THEN RAISE 'no' USING ERRCODE = '23514'; END IF; RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON actorstore.actor_t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()});
is(q1("SELECT actorstore.update('t', '$there', '64')"), 'ERROR:  23514', 'refused');
is(value(), '63', 'undone');
is(q1("SELECT (actorstore.update('t', '$there', '65')).value"), '65', 'allowed');

$_->quit foreach $session, $look, $blocker;
$_->stop foreach @nodes;
done_testing();
