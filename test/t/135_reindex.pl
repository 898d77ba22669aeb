# Indexes and tables of the extension are made anew while they are written: REINDEX CONCURRENTLY, which is made to stand still in
# each of its phases, and all that locks a table for itself, under load.  Afterwards each index has all the rows of its table,
# nothing is lost and nothing is done twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $seconds = $ENV{ACTORSTORE_STORM_SECONDS} || 8;
my @nodes = new_cluster('one', 'two', { settings => join "\n",
	'actorstore.resolver_interval = 100ms', 'actorstore.workers = 2', 'max_worker_processes = 20', 'fsync = off', 'allow_in_place_tablespaces = on',
	'deadlock_timeout = 100ms' });
my ($one, $two) = @nodes;

plan skip_all => 'the server has no amcheck' unless $one->safe_psql('d', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'});

$_->safe_psql('d', q{
	CREATE EXTENSION amcheck;
	CREATE FUNCTION note(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.seen (what) VALUES (body #>> '{}');
		RETURN to_jsonb(coalesce(state #>> '{}', '0')::int + 1);
	END $$;
	CREATE FUNCTION fail(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$}) foreach @nodes;
$one->safe_psql('d', q{
	SELECT actorstore.create_type(t) FROM unnest('{work,kept,plain,out}'::text[]) AS t;
	SELECT actorstore.create_type('bad', max_attempts => 1);
	SELECT actorstore.set_handler(t, '*', 'note(jsonb, jsonb)') FROM unnest('{work,kept}'::text[]) AS t;
	SELECT actorstore.set_handler('bad', '*', 'fail(jsonb, jsonb)'), actorstore.set_handler('out', '*', 'actorstore.outside(jsonb, jsonb)'), actorstore.pause('kept')});
declare_loosely($one, 'd', 'loose');
$_->safe_psql('d', 'CREATE ROLE somebody') foreach @nodes;

# Ids by the node that they live on, and by type.
my %ids;
sub id
{
	my ($type, $node) = @_;
	$ids{$type}{$node} //= [ rows($one, 'd', "SELECT 'a' || i FROM generate_series(1, 20000) AS i WHERE actorstore.locate('$type', 'a' || i) = '$node'") ];
	return shift @{ $ids{$type}{$node} };
}

# ---- What is done in each phase, and must be seen at once and in the end ----

my $round = 0;
my $reindexed = '';		# the table at hand
my (@expected, @kept);
my $session = ActorstoreTest::Session->new($one, 'd');	# one that knew the old indexes
my $looker = ActorstoreTest::Session->new($one, 'd');

sub sends
{
	my ($say, $r) = @_;
	my $here = id('work', 'one');
	my $mine = id('kept', 'one');

	$say->("SELECT actorstore.send('work', '$here', 'm', to_jsonb('s$r'::text)) IS NULL", 'f');
	$say->("SELECT actorstore.send_many('work', array_agg('a' || i), 'm', array_agg(to_jsonb('s$r-' || i))) FROM generate_series(1, 300) AS i", 300);
	$say->("SELECT actorstore.send('work', '$here', 'm', to_jsonb('d$r'::text), delay => '1 ms') IS NULL", 'f');
	push @expected, "s$r", "d$r", map { "s$r-$_" } 1 .. 300;
	$say->("SELECT count(actorstore.send('kept', '$mine', 'm', to_jsonb('k$r-' || i))) FROM generate_series(1, 3) AS i", 3);
	$say->("SELECT count(actorstore.send('kept', '$mine', 'm', to_jsonb('k$r-' || i), delay => '1 h')) FROM generate_series(4, 5) AS i", 2);
	push @kept, map { "k$r-$_" } 1 .. 3;
	$say->("SELECT actorstore.cancel(actorstore.send('kept', '$mine', 'm', delay => '1 day'))", 't');
	$say->("SELECT actorstore.cancel(actorstore.send('kept', '$mine', 'm'))", 't');
	$say->("SELECT count(DISTINCT actorstore.send('work', '$here', 'm', to_jsonb('u$r'::text), dedup_key => 'u$r')) FROM generate_series(1, 3)", 1);
	push @expected, "u$r";
	return;
}

sub timers
{
	my ($say, $r) = @_;
	my $here = id('work', 'one');

	$say->("SELECT FROM actorstore.set_timer('work', '$here', 'far', 'm', after => '$_ days')", '') foreach 1, 2;
	$say->("SELECT count(*) FROM actorstore.timer WHERE actor_type = 'work' AND actor_id = '$here'", 1);
	$say->("SELECT FROM actorstore.set_timer('work', '$here', 'now', 'm', to_jsonb('t$r'::text), after => '1 ms')", '');
	push @expected, "t$r";
	$say->("SELECT FROM actorstore.set_timer('work', '$here', 'never', 'm', after => '1 day')", '');
	$say->("SELECT actorstore.cancel_timer('work', '$here', 'never'), actorstore.cancel_timer('work', '$here', 'never')", 't|f');
	return;
}

sub states
{
	my ($say, $r) = @_;

	foreach my $type ('plain', 'loose')
	{
		my ($id, $gone, $there) = (id($type, 'one'), id($type, 'one'), id($type, 'two'));

		$say->("SELECT (actorstore.insert('$type', '$id', '1')).version", 0);
		$say->("SELECT (actorstore.insert('$type', '$id', '1')).version", 'ERROR:  23505');
		$say->("SELECT (actorstore.put('$type', '$id', '2')).version, (actorstore.put('$type', '$gone', '2')).version", '1|0');
		$say->("SELECT (actorstore.update('$type', '$id', to_jsonb(repeat('x', 3000)))).version", 2);
		$say->("SELECT (actorstore.delete('$type', '$gone')).version", 0);
		$say->("SELECT actorstore.get('$type', '$gone') IS NULL", 't');
		$say->("SELECT (actorstore.put('$type', '$gone', '3')).version", 0);
		$say->("BEGIN; SELECT (actorstore.put('$type', '$there', '1')).version, (actorstore.put('$type', '$id', '1')).version; COMMIT", '0|3');
		$say->("SELECT count(*) FROM actorstore.list('$type', '$id') WHERE actor_id = '$id'", 1);
	}
	return;
}

sub turns_outside
{
	my ($say, $r) = @_;
	my $there = id('out', 'one');

	foreach (1, 2)
	{
		$say->("SELECT actorstore.send('out', '$there', 'm', '$_') IS NULL", 'f');
		$say->(qq{DO \$\$ DECLARE t record; BEGIN
			SELECT * INTO STRICT t FROM actorstore.checkout('w', '{out}', max_wait => '100 s', lease => '1 h');
			PERFORM actorstore.extend_lease(t.turn_id, t.token, '2 h');
			PERFORM actorstore.extend_lease(t.turn_id, t.token, '3 h');
			IF $_ = 1 THEN PERFORM actorstore.complete(t.turn_id, t.token, '1'); END IF;
			END \$\$}, '');
	}
	$say->("SELECT (actorstore.get('out', '$there')).value", 1);
	$say->("SELECT count(*) FROM actorstore.stat_leases WHERE actor_id = '$there'", 1);
	return;
}

sub others
{
	my ($say, $r) = @_;
	my ($far, $bad, $halted) = (id('work', 'two'), id('bad', 'one'), id('work', 'one'));

	$say->("SELECT count(actorstore.send('work', '$far', 'm', to_jsonb('f$r-' || i))) FROM generate_series(1, 3) AS i", 3);
	push @expected, map { "f$r-$_" } 1 .. 3;
	$say->("SELECT actorstore.send('bad', '$bad', 'm', '1') IS NULL", 'f');
	$say->("SELECT until(\$\$EXISTS (SELECT FROM actorstore.dead_letter WHERE actor_id = '$bad')\$\$)", 't');
	$say->("SELECT actorstore.redrive('bad', '$bad')", 1);
	$say->("SELECT until(\$\$EXISTS (SELECT FROM actorstore.dead_letter WHERE actor_id = '$bad')\$\$)", 't');
	$say->("SELECT FROM actorstore.pause('work', '$halted')", '');
	$say->("SELECT actorstore.send('work', '$halted', 'm', to_jsonb('h$r'::text)) IS NULL", 'f');
	$say->("SELECT FROM actorstore.resume('work', '$halted')", '');
	push @expected, "h$r";

	# who makes a type locks these for himself
	return if $reindexed =~ /^(?:undeclared|type)$/;
	$say->("SELECT FROM actorstore.create_type('type$r')", '');
	$say->("SELECT FROM actorstore.set_handler('type$r', 'm', 'collect(jsonb, jsonb)')", '');
	$say->("SELECT FROM actorstore.grant_type('type$r', 'somebody', '{read}')", '');
	$say->("SELECT actorstore.call('type$r', 'a', 'm', '1')", '[1]');
	$say->("SELECT FROM actorstore.drop_type('type$r')", '') if $r % 2;
	return;
}

# Two want to make one actor, or one timer: the second one waits, and changes it.
sub races
{
	my ($first, $second, $wrong) = @_;
	my ($id, $timer) = (id('plain', 'one'), id('work', 'one'));
	my @races = (
		[ "SELECT (actorstore.put('plain', '$id', '1')).version", "SELECT (actorstore.put('plain', '$id', '2')).version", 1 ],
		[ "SELECT FROM actorstore.set_timer('work', '$timer', 'far', 'm', after => '1 day')", "SELECT FROM actorstore.set_timer('work', '$timer', 'far', 'm', after => '2 days')", '' ]);

	foreach (@races)
	{
		my ($one, $two, $expected) = @$_;

		$first->query($_) foreach 'BEGIN', $one;
		$second->start($two);
		push @$wrong, "$two does not wait" unless $second->blocked($looker);
		$first->query('COMMIT');
		my $got = $second->finish;
		push @$wrong, "$two, at once: $got" if $got ne $expected;
	}
	return;
}

# By a session that knew the indexes before, and by a new one.
sub round_is_right
{
	my ($name) = @_;
	my $fresh = ActorstoreTest::Session->new($one, 'd');
	my @wrong;

	foreach my $by ($session, $fresh)
	{
		my $say = sub {
			my ($sql, $expected) = @_;
			my $got = $by->query($sql);
			push @wrong, "$sql: $got" if $got ne $expected;
		};

		$round++;
		$_->($say, $round) foreach \&sends, \&timers, \&states, \&turns_outside, \&others;
	}
	races($session, $fresh, \@wrong);
	races($fresh, $session, \@wrong);
	$fresh->quit;
	is(join("\n", @wrong), '', $name);
	return;
}

# ---- REINDEX CONCURRENTLY, phase by phase ----

sub waits_for
{
	my ($looker, $pid, $whom) = @_;

	foreach (1 .. patience() * 100)
	{
		return 1 if $looker->query("SELECT $whom = ANY (pg_blocking_pids($pid))") eq 't';
		usleep(10_000);
	}
	return 0;
}

sub reindex_in_phases
{
	my ($node, $table) = @_;
	my ($reindex, $looker, @holders) = map { ActorstoreTest::Session->new($node, 'd') } 0 .. 6;
	my $hold = sub { $holders[ $_[0] ]->query($_) foreach 'BEGIN', "LOCK TABLE actorstore.$table IN ROW EXCLUSIVE MODE"; };
	my $let_go = sub { $holders[ $_[0] ]->query('COMMIT'); };
	my $is_at = sub {
		my ($holder, $name) = @_;
		ok(waits_for($looker, $reindex->{pid}, $holders[$holder]->{pid}), "$table: $name");
		round_is_right("$table, meanwhile");
	};

	$reindexed = $table;
	$hold->(0);
	$reindex->start("REINDEX TABLE CONCURRENTLY actorstore.$table");
	$is_at->(0, 'the new index is not written yet');
	$hold->(1);
	$let_go->(0);
	$is_at->(1, 'it is written, and has not what was there before');
	$holders[2]->query($_) foreach 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT count(*) FROM pg_class';
	$let_go->(1);
	$is_at->(2, 'it has all');
	$hold->(3);
	$let_go->(2);
	$is_at->(3, 'it has taken the place of the old one');
	$hold->(4);
	$let_go->(3);
	$is_at->(4, 'the old one is not written any more');
	$let_go->(4);
	is($reindex->finish, '', "$table: done");
	$_->quit foreach $reindex, $looker, @holders;
	round_is_right("$table: afterwards");
	return;
}

sub indexes_are_right
{
	my ($name) = @_;

	foreach my $node (@nodes)
	{
		is($node->safe_psql('d', q{
			SELECT indexrelid::regclass FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid
			WHERE relnamespace = 'actorstore'::regnamespace AND relkind = 'i' AND NOT (indisvalid AND indisready AND indislive)}), '', "$name: no index is left behind");
		my ($status, $stdout, $stderr) = $node->psql('d', q{
			SELECT bt_index_check(indexrelid, true) FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid
			WHERE relnamespace = 'actorstore'::regnamespace AND relkind = 'i'});
		is($stderr, '', "$name: each index of " . $node->name . ' has all rows');
	}
	return;
}

# Each message and timer has had its effect once.
sub all_is_done
{
	my ($name) = @_;
	my $n = @expected;

	ok(comes_true($_, 'd', q{NOT EXISTS (SELECT FROM actorstore.message WHERE actor_type = 'work') AND NOT EXISTS (SELECT FROM actorstore.outbox)
		AND NOT EXISTS (SELECT FROM actorstore.timer WHERE name = 'now') AND NOT EXISTS (SELECT FROM pg_prepared_xacts)}), "$name: " . $_->name . ' has nothing to do') foreach @nodes;
	is(join("\n", sort map { rows($_, 'd', 'SELECT what FROM seen') } @nodes), join("\n", sort @expected), "$name: all that was sent was handled once");
	return;
}

round_is_right('before');
reindex_in_phases($one, $_) foreach qw(message lease timer actor_plain undeclared dead_message type handler halted outbox decision);
reindex_in_phases($two, $_) foreach qw(receipt inbox actor_plain message);
$session->quit;
all_is_done('after REINDEX');
indexes_are_right('after REINDEX');

# ---- All that makes tables and indexes anew, under load ----

my $script = PostgreSQL::Test::Utils::tempdir . '/script';
append_to_file($script, q{
\set i random(1, 50)
\set far random(1, 1000)
\set n random(1, 1000000000)
SELECT actorstore.send('work', 'a' || :far, 'm', to_jsonb('c:client_id-' || :n), delay => CASE WHEN :i < 10 THEN interval '20 ms' END);
INSERT INTO sent VALUES ('c:client_id-' || :n);
SELECT actorstore.set_timer('work', 'b' || :i, 't' || (:i % 3), 'm', to_jsonb('t:client_id-' || :n), after => '1 day');
SELECT actorstore.put('plain', 'b' || :i, to_jsonb(:n));
SELECT actorstore.put('loose', 'b' || :far, to_jsonb(:n));
SELECT count(*) FROM actorstore.checkout('w', '{out}', 3, '1 h');
SELECT actorstore.send('out', 'b' || :far, 'm');
SELECT actorstore.send('bad', 'b' || :i, 'm');
SELECT actorstore.redrive('bad', 'b' || :i, 1);
});
$one->safe_psql('d', q{CREATE TABLE sent (what text); CREATE TABLESPACE other LOCATION ''});

# An administrator's indexes are kept up, too.
$one->safe_psql('d', q{CREATE INDEX of_some ON actorstore.message (actor_type, actor_id) WHERE priority < 5 AND due IS NULL; CREATE INDEX of_names ON actorstore.timer (lower(name));
	CREATE UNIQUE INDEX of_turns ON actorstore.lease (turn_id, token)});
my ($out, $err) = ('', '');
my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-j', 1, '-T', $seconds, '-f', $script, $one->connstr('d') ], '>', \$out, '2>', \$err);
my @tables = rows($one, 'd', q{SELECT relname FROM pg_class WHERE relnamespace = 'actorstore'::regnamespace AND relkind = 'r' ORDER BY relname});
my @commands = map { my $table = $_; map { sprintf $_, $table } 'REINDEX TABLE CONCURRENTLY actorstore.%s', 'VACUUM (FULL) actorstore.%s', 'REINDEX TABLE actorstore.%s', 'ALTER TABLE actorstore.%s SET TABLESPACE other' } @tables;
push @commands, map { my ($table, $index) = split /\|/; ("REINDEX INDEX CONCURRENTLY actorstore.$index", "CLUSTER actorstore.$table USING $index") }
  rows($one, 'd', q{SELECT c.relname, i.relname FROM pg_index JOIN pg_class AS c ON c.oid = indrelid JOIN pg_class AS i ON i.oid = indexrelid
	WHERE c.relnamespace = 'actorstore'::regnamespace AND c.relkind = 'r' AND indpred IS NULL});
my ($done, @failed) = (0);
while ($load->pumpable)
{
	my $command = $commands[ $done++ % @commands ];
	my ($status, $stdout, $stderr) = $one->psql('d', $command);

	push @failed, "$command: $stderr" if $status;
	$load->pump_nb;
}
$load->finish;
note "$done commands: ", $out =~ /(number of transactions actually processed.*)/;
is(join("\n", @failed), '', 'tables and indexes are made anew');
is(join("\n", grep { /ERROR|FATAL/ } split /\n/, $err), '', 'no statement has failed meanwhile');
push @expected, rows($one, 'd', 'SELECT what FROM sent');
all_is_done('after the load');
indexes_are_right('after the load');

# What waited all the time is there as well.
$one->safe_psql('d', q{SELECT actorstore.resume('kept')});
ok(comes_true($one, 'd', q{NOT EXISTS (SELECT FROM actorstore.message WHERE actor_type = 'kept' AND due IS NULL)}), 'what was kept is handled');
is(join(' ', sort map { rows($_, 'd', q{SELECT what FROM seen WHERE what LIKE 'k%'}) } @nodes), join(' ', sort @kept), 'all of it, once');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'kept'}), 2 * $round, 'and what is not due waits');
foreach my $node (@nodes)
{
	my @complaints = grep { /\b(?:ERROR|FATAL|PANIC|WARNING):/ && !/ERROR:  (?:duplicate key|no$|prepared transaction .* does not exist)|no transaction in progress/ } split /\n/, slurp_file($node->logfile);
	is(join("\n", @complaints), '', 'nothing else was complained of by ' . $node->name);
}
done_testing();
