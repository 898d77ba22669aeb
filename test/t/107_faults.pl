# Transactions over several nodes on a network that loses answers and goes
# silent, on a disk that is full, in a crash beside a checkpoint, and with a
# PREPARE that arrives when its coordinator has long been another process.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# the proxy reads along
use ActorstoreFaults;
use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my @nodes = new_cluster('one', 'two', 'three', { faults => 1, settings => "actorstore.resolver_interval = 100ms\nactorstore.phase_two_timeout = 60s\nactorstore.peer_timeout = 60s" });
my ($one, $two) = @nodes;
$_->safe_psql('d', 'CREATE TABLE t (n int); INSERT INTO t VALUES (0)') foreach @nodes;
my $n = 0;
my $session;
my $proxy = start_proxy($two, 'd');
$one->safe_psql('d', "UPDATE actorstore.node SET conninfo = '$proxy->{conninfo}' WHERE node_name = 'two'");
is($one->safe_psql('d', q{SELECT ok FROM actorstore.node_check('two')}), 't', 'through the proxy');

sub values_are { my ($expected, $name) = @_; is(join(' ', map { $_->safe_psql('d', 'SELECT n FROM t') } @nodes), "$expected $expected $expected", $name); return; }
sub settled { my ($name) = @_; ok(!(grep { !comes_true($_, 'd', q{NOT EXISTS (SELECT FROM pg_prepared_xacts) AND NOT EXISTS (SELECT FROM actorstore.in_doubt)}) } @nodes), "$name: nothing stays in doubt"); return; }
sub start_transaction
{
	my (@settings) = @_;
	$session = ActorstoreTest::Session->new($one, 'd');
	$n++;
	$session->query($_) foreach @settings, 'BEGIN', "SELECT actorstore.execute_on_nodes('UPDATE t SET n = $n')";
	return;
}
sub answer { my $answer = eval { $session->finish } // ''; eval { $session->quit }; return $answer; }
sub stop_at
{
	my ($where, @settings) = @_;
	unlink map { $one->data_dir . "/fault.$where.$_" } qw(reached go);
	start_transaction("SET actorstore.fault = '$where:wait'", @settings);
	$session->start('COMMIT');
	reached($one, $where);
	return;
}
sub resolved { return $one->safe_psql('d', q{SELECT resolved FROM actorstore.stat_peers WHERE node_name = 'two'}); }
sub logged
{
	my ($node, $from, $pattern) = @_;
	my $until = time + patience();
	until (slurp_file($node->logfile, $from) =~ $pattern || time > $until) { usleep(20_000); }
	return slurp_file($node->logfile, $from) =~ $pattern;
}

# ---- The network ----

# The kernel looks after idle connections: their timer is the one of keepalive.
my ($port) = $proxy->{conninfo} =~ /port=(\d+)/;
my $idle = ActorstoreTest::Session->new($one, 'd');
$idle->query(q{SELECT actorstore.node_check('two')});
# (For a moment after something was sent it is the one that would send it again.)
my @timers;
for (1 .. patience() * 10)
{
	@timers = map { /^\s*\d+: \S+ \w+:(\w+) 01 \S+ (\w+):/ && hex $1 == $port ? $2 : () } split /\n/, slurp_file('/proc/net/tcp');
	last if @timers >= 2 && !grep { $_ ne '02' } @timers;
	usleep(100_000);
}
cmp_ok(scalar(@timers), '>=', 2, 'connections to the node');
is(join(' ', grep { $_ ne '02' } @timers), '', 'all have keepalives');
$idle->quit;

# The answer to COMMIT PREPARED is lost: the receipt proves it.
my $before = resolved();
start_transaction();
my $done = at_word($proxy, 'COMMIT PREPARED', 'lose');
like($session->query('COMMIT'), qr/WARNING/, 'the answer to COMMIT PREPARED is lost');
wait_for_file($done);
settled('answer lost');
values_are($n, 'answer lost: committed');
is(resolved(), $before, 'there was nothing to be done there');
$session->quit;

# A link that goes silent: the time to prepare and to commit is bounded.
start_transaction(q{SET actorstore.peer_timeout = '500ms'});
$done = at_word($proxy, 'PREPARE TRANSACTION', 'silence');
is($session->query('COMMIT'), 'ERROR:  08006', 'silence after PREPARE');
wait_for_file($done);
settled('silence after PREPARE');
values_are(--$n, 'silence after PREPARE: undone');
$session->quit;
start_transaction(q{SET actorstore.phase_two_timeout = '500ms'});
$done = at_word($proxy, 'COMMIT PREPARED', 'silence');
like($session->query('COMMIT'), qr/WARNING/, 'silence after COMMIT PREPARED');
wait_for_file($done);
settled('silence after COMMIT PREPARED');
values_are($n, 'silence after COMMIT PREPARED: committed');

# A statement there may take as long as it likes, but can be cancelled.
$done = at_word($proxy, 'SELECT 4711', 'silence');
$session->query(q{SET actorstore.peer_timeout = '500ms'; SET statement_timeout = '500ms'});
is($session->query(q{SELECT actorstore.execute_on_nodes('SELECT 4711')}), 'ERROR:  57014', 'silence in a statement');
wait_for_file($done);
is($session->query(q{RESET statement_timeout; RESET actorstore.peer_timeout; SELECT * FROM actorstore.execute_on_nodes('SELECT 4711')}), "one|1\ntwo|1\nthree|1", 'the next one goes over another connection');
settled('silence in a statement');
$session->quit;

# PREPARE arrives when the coordinator has been started anew.
stop_at('K2');
my $peer = $two->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND state = 'idle in transaction' ORDER BY backend_start DESC LIMIT 1});
my ($gid) = map { /^two (.*)$/ } rows($one, 'd', q{SELECT 'two ' || format('actorstore_%s_%s_%s_%s_2', n.node_uuid, n.incarnation, g.boot, g.full_xid)
	FROM actorstore.node AS n, actorstore.global_transactions_now() AS g WHERE n.is_self AND g.state = 'preparing'});
kill 'STOP', $peer;
$done = at_word($proxy, 'PREPARE TRANSACTION', 'silence');
release($one, 'K2');
wait_for_file($done);
$one->stop('immediate');
answer();
unlink map { $one->data_dir . "/fault.K2.$_" } qw(reached go);
$one->start;
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore resolver')}), 'the coordinator is back');
$one->safe_psql('d', 'SELECT actorstore.resolve_in_doubt()') foreach 1 .. 2;
my $log = -s $one->logfile;
kill 'CONT', $peer;
ok(logged($one, $log, qr/the resolver has rolled back transaction "\Q$gid\E" on node "two"/), 'a PREPARE that comes late is rolled back');
settled('late PREPARE');
values_are(--$n, 'late PREPARE: undone');

# ---- The disk ----

$two->stop;
$two->append_conf('postgresql.conf', "fsync = on\nrestart_after_crash = off");
my $disk = with_disk($two);
is($one->safe_psql('d', q{SELECT ok FROM actorstore.node_check('two')}), 't', 'the same on another disk');

# From here on the next record needs a file that is not there yet.
sub fill_disk
{
	my $none_left = q{SELECT NOT EXISTS (SELECT FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name >= pg_walfile_name(pg_current_wal_insert_lsn()))};
	for (1 .. 100)
	{
		$two->safe_psql('d', q{SELECT pg_logical_emit_message(true, '', ''); SELECT pg_switch_wal()});
		append_to_file("$disk/full", '');
		return if $two->safe_psql('d', $none_left) eq 't';
		unlink "$disk/full";
	}
	die 'there is always another file';
}
sub comes_down
{
	my ($node) = @_;
	my $until = time + patience();
	my $pid = $node->{_pid};
	while (kill 0, $pid) { die 'the server does not end' if time > $until; usleep(10_000); }
	$node->{_pid} = undef;
	return;
}
sub make_room
{
	unlink "$disk/full";
	unlink $two->data_dir . '/postmaster.pid';
	with_disk($two);
	return;
}
stop_at('K2');
fill_disk();
release($one, 'K2');
like(answer(), qr/^ERROR:  (08006|53100)$/, 'the disk is full at PREPARE');
comes_down($two);
make_room();
settled('full at PREPARE');
values_are(--$n, 'full at PREPARE: undone');
stop_at('K5');
fill_disk();
release($one, 'K5');
like(answer(), qr/WARNING/, 'the disk is full at COMMIT PREPARED');
comes_down($two);
is($one->safe_psql('d', q{SELECT state FROM actorstore.in_doubt WHERE node_name = 'two'}), 'committed', 'full at COMMIT PREPARED: decided, not yet done there');
make_room();
settled('full at COMMIT PREPARED');
values_are($n, 'full at COMMIT PREPARED: committed');

# No room for the receipt: an error, the server goes on.  Receipts stay as long as an older transaction runs.
my $older = ActorstoreTest::Session->new($one, 'd');
$older->query('BEGIN'); $older->query('SELECT pg_current_xact_id()');
$session = ActorstoreTest::Session->new($one, 'd');
append_to_file("$disk/full", '');
my $answer = '';
for (1 .. 500) { $answer = $session->query(q{SELECT actorstore.execute_on_nodes('SELECT FROM t FOR UPDATE')}); last if $answer =~ /ERROR/; }
is($answer, 'ERROR:  53100', 'no room for a receipt');
ok(!(grep { $_->safe_psql('d', q{SELECT count(*) FROM pg_prepared_xacts}) ne '0' } @nodes), 'nothing is prepared');
is($two->safe_psql('d', 'SELECT 1 FROM t FOR UPDATE NOWAIT'), '1', 'or locked');
unlink "$disk/full";
is($session->query(q{SELECT * FROM actorstore.execute_on_nodes('SELECT FROM t FOR UPDATE')}), "one|1\ntwo|1\nthree|1", 'there is room again');
$older->query('COMMIT');
$_->quit foreach $session, $older;
settled('receipts');

# A crash when the checkpoint has written what is prepared, and is not over: it is there once.
stop_at('K5');
$gid = $two->safe_psql('d', 'SELECT gid FROM pg_prepared_xacts');
append_to_file("$disk/hold", 'pg_twophase');
my $checkpoint = ActorstoreTest::Session->new($two, 'd');
$checkpoint->start('CHECKPOINT');
wait_for_file("$disk/held");
$two->stop('immediate');
eval { $checkpoint->finish };
$log = -s $two->logfile;
is(scalar(my @files = glob $two->data_dir . '/pg_twophase/*'), 1, 'crash beside a checkpoint: it is in a file, and in WAL');
unlink "$disk/hold", "$disk/held";
with_disk($two);
is($two->safe_psql('d', 'SELECT gid FROM pg_prepared_xacts'), $gid, 'crash beside a checkpoint: it is there, once');
release($one, 'K5');
answer();
settled('crash beside a checkpoint');
values_are($n, 'crash beside a checkpoint: committed');
unlike(slurp_file($two->logfile, $log), qr/PANIC:/, 'without a panic');

# ---- The alarm ----

foreach my $node ($one, $two)
{
	$node->safe_psql('d', q{ALTER SYSTEM SET actorstore.in_doubt_alarm = '200ms'});
	$node->reload;
	ok(comes_true($node, 'd', q{current_setting('actorstore.in_doubt_alarm') = '200ms'}), 'an alarm on ' . $node->name);
	ok(comes_true($node, 'd', q{(SELECT ok FROM actorstore.doctor() WHERE item = 'in doubt')}), 'nothing is in doubt');
}
stop_at('K5');
foreach my $node ($one, $two)
{
	ok(comes_true($node, 'd', q{(SELECT NOT ok FROM actorstore.doctor() WHERE item = 'in doubt')}), 'something is in doubt on ' . $node->name);
	ok(logged($node, 0, qr/parts of transactions over several nodes have been in doubt for more than 200 ms/), 'the log says so');
}
like($two->safe_psql('d', q{SELECT detail FROM actorstore.doctor() WHERE item = 'in doubt'}), qr/^1 parts .* more than 200ms; what is prepared here holds back vacuum by \d+ transactions$/, 'and what it does');
release($one, 'K5');
answer();
settled('the alarm');
ok(comes_true($_, 'd', q{(SELECT ok FROM actorstore.doctor() WHERE item = 'in doubt')}), 'it is over on ' . $_->name) foreach $one, $two;

# The places for prepared transactions: too few, or nearly all taken.
my $places = q{SELECT ok FROM actorstore.doctor() WHERE item = 'max_prepared_transactions'};
is($two->safe_psql('d', $places), 'f', 'fewer than connections');
$two->append_conf('postgresql.conf', 'max_prepared_transactions = 50');
$two->stop;
with_disk($two);
is($two->safe_psql('d', $places), 't', 'as many');
$two->safe_psql('d', "BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'p$_'") foreach 1 .. 40;
is($two->safe_psql('d', $places), 'f', 'of which 80 % are taken');
$two->safe_psql('d', "ROLLBACK PREPARED 'p$_'") foreach 1 .. 40;
is($two->safe_psql('d', $places), 't', 'and free again');

# ---- Handlers ----

# What cannot be prepared is refused in a handler, too.
foreach my $node (@nodes)
{
	$node->safe_psql('d', q{
		CREATE FUNCTION act(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			EXECUTE body ->> 'first';
			PERFORM actorstore.put('t', body ->> 'there', '"written"');
			EXECUTE body ->> 'last';
			RETURN '"acted"';
		END $$});
}
$one->safe_psql('d', q{SELECT actorstore.create_type('t'), actorstore.set_handler('t', 'act', 'act(jsonb, jsonb)')});
my ($here, $there) = map { my $name = $_; $one->safe_psql('d', "SELECT 'a' || i FROM generate_series(1, 99) AS i WHERE actorstore.locate('t', 'a' || i) = '$name' LIMIT 1") } qw(one two);
sub act
{
	my ($first, $last) = @_;
	return sqlstate($one, 'd', "SELECT actorstore.ask('t', '$here', 'act', jsonb_build_object('there', '$there', 'first', '$first', 'last', '$last'), timeout => '3 min')");
}
foreach my $command ('NOTIFY x', 'SELECT pg_notify($$x$$, $$$$)', 'CREATE TEMP TABLE x ()', 'DECLARE c CURSOR WITH HOLD FOR SELECT 1')
{
	foreach my $turn ([ $command, 'SELECT 1', 'before' ], [ 'SELECT 1', $command, 'after' ])
	{
		is(act(@$turn[ 0, 1 ]), '0A000', "in a handler, $turn->[2]: $command");
	}
}
is($two->safe_psql('d', "SELECT actorstore.get('t', '$there') IS NULL"), 't', 'nothing was written');
is(act('SELECT 1', 'SELECT 2'), '00000', 'without that');
is($two->safe_psql('d', "SELECT value FROM actorstore.get('t', '$there')"), '"written"', 'it is');

# ---- Names ----

# Each global id is used once, whatever is started again; all of the test's are looked at.
$_->safe_psql('d', 'CREATE TABLE own AS SELECT n FROM generate_series(0, 3) AS n') foreach @nodes;
my @storm = map { ActorstoreTest::Session->new($one, 'd') } 1 .. 4;
foreach my $round (1 .. 2)
{
	$storm[$_]->start(qq{DO \$do\$ BEGIN FOR i IN 1 .. 150 LOOP PERFORM actorstore.execute_on_nodes('SELECT FROM own WHERE n = $_ FOR UPDATE'); COMMIT; END LOOP; END \$do\$}) foreach 0 .. 3;
	is($_->finish, '', "round $round") foreach @storm;
	$_->quit foreach @storm;
	last if $round == 2;
	$one->stop('immediate');
	$one->start;
	@storm = map { ActorstoreTest::Session->new($one, 'd') } 1 .. 4;
}
my %seen;
$seen{$_}++ foreach slurp_file($nodes[2]->logfile) =~ /PREPARE TRANSACTION '(actorstore_[^']+)'/g;
cmp_ok(scalar(keys %seen), '>=', 1200, 'global ids: ' . keys %seen);
is(join(' ', grep { $seen{$_} > 1 } keys %seen), '', 'none is used twice');
is(join(' ', grep { length >= 200 } keys %seen), '', 'nor too long');
settled('in the end');

$_->stop foreach @nodes;
done_testing();
