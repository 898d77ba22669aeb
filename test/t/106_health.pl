# Which nodes answer: who is suspected, who is down, and what is said of it to whom.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { settings => "actorstore.heartbeat_interval = 200ms\nactorstore.heartbeat_pause = 1s\nactorstore.peer_timeout = 120s" });
my ($one, $two, $three) = @nodes;

sub health { my ($node, $of) = @_; return $node->safe_psql('d', "SELECT health FROM actorstore.stat_peers WHERE node_name = '$of'") }
sub becomes { my ($node, $of, $health) = @_; return comes_true($node, 'd', "(SELECT health FROM actorstore.stat_peers WHERE node_name = '$of') = '$health'") }
sub stand_still { my ($node, $signal) = @_; return kill $signal, pids($node) }

# The postmaster and all its children.
sub pids
{
	my ($node) = @_;
	my ($postmaster) = split /\n/, PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid');
	return ($postmaster, grep { /^\d+$/ } map { m{/proc/(\d+)/} } grep { parent($_) == $postmaster } glob '/proc/[0-9]*/stat');
}

sub parent
{
	my ($stat) = @_;
	open(my $file, '<', $stat) or return 0;
	my ($parent) = (<$file> // '') =~ /\) \S (\d+)/;
	return $parent // 0;
}

# ---- All is well ----

foreach my $node (@nodes)
{
	ok(becomes($node, $_->name, 'up'), $node->name . ' holds ' . $_->name . ' to be up') foreach grep { $_ != $node } @nodes;
}
ok(comes_true($one, 'd', q{(SELECT bool_and(heartbeats_sent > 5 AND heartbeats_answered > 5 AND heartbeats_received > 5 AND phi < 8 AND rtt_p50 > 0 AND rtt_p50 <= rtt_p95 AND rtt_p95 <= rtt_p99)
	FROM actorstore.stat_peers)}), 'questions and answers are counted and timed');
is($one->safe_psql('d', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'actorstore health'}), '1', 'by one process');
is($one->safe_psql('d', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'actorstore health'}), '2', 'which each other node has, too');

# The process is ended: another one comes.
my $pid = $one->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore health'});
$one->safe_psql('d', "SELECT pg_terminate_backend($pid)");
ok(comes_true($one, 'd', "EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore health' AND pid <> $pid)"), 'the process is ended, and there is another one');
ok(becomes($one, 'three', 'up'), 'which knows the same');

# Two actors watch a node; one of them does not want to any more.
$_->safe_psql('d', q{
	CREATE FUNCTION watch(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		message text := (actorstore.context()).message;
	BEGIN
		CASE message
			WHEN 'watch' THEN PERFORM actorstore.monitor_node('three'), actorstore.monitor_node('three');
			WHEN 'rest' THEN PERFORM actorstore.demonitor_node('three');
			WHEN 'watch two' THEN PERFORM actorstore.monitor_node('two');
			WHEN 'bad' THEN PERFORM actorstore.monitor_node('nowhere');
			ELSE RETURN coalesce(state, '[]') || jsonb_build_array(message || ' ' || (body->>'node_name'));
		END CASE;
		RETURN state;
	END $$}) foreach @nodes;
$one->safe_psql('d', q{SELECT actorstore.create_type('watcher', max_attempts => 1), actorstore.set_handler('watcher', '*', 'watch(jsonb, jsonb)'),
	actorstore.set_handler('watcher', '$nodedown', 'watch(jsonb, jsonb)'), actorstore.set_handler('watcher', '$nodeup', 'watch(jsonb, jsonb)')});
my ($first, $second, $third) = rows($one, 'd', q{SELECT n::text FROM generate_series(1, 1000) AS n WHERE actorstore.locate('watcher', n::text) = 'one' LIMIT 3});
$one->safe_psql('d', "SELECT actorstore.send('watcher', '$first', 'watch'), actorstore.send('watcher', '$second', 'watch'), actorstore.send('watcher', '$second', 'rest'), actorstore.send('watcher', '$third', 'bad')");
ok(handled($one, 'd', 'watcher'), 'actors watch a node');
is($one->safe_psql('d', q{SELECT sqlstate FROM actorstore.dead_letter}), '42704', 'which must be there');
is(sqlstate($one, 'd', q{SELECT actorstore.monitor_node('three')}), '55000', 'only actors do');

# ---- A node stands still ----

ok(stand_still($three, 'STOP') > 3, 'a node stands still');
ok(becomes($_, 'three', 'down'), $_->name . ' holds it to be down') foreach $one, $two;
is(health($one, 'two'), 'up', 'but not the other one');
my $began = time;
is(sqlstate($one, 'd', q{SELECT actorstore.execute_on_nodes('SELECT 1', '{}', '{three}')}), '08006', 'whoever wants to speak to it is told so');
ok(time - $began < 60, 'and does not wait for an answer');
like($one->safe_psql('d', q{SELECT detail FROM actorstore.node_check('three')}), qr/node "three" is down/, 'so is who checks');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.execute_on_nodes('SELECT 1', '{}', '{one, two}')}), '2', 'the others work');
ok(slurp_log($one) =~ /LOG:  node "three" is down/, 'the log says it');
is($one->safe_psql('d', q{SELECT phi >= 8 AND retries > 0 FROM actorstore.stat_peers WHERE node_name = 'three'}), 't', 'and the view why');
ok(comes_true($one, 'd', "(SELECT value FROM actorstore.get('watcher', '$first')) = '[\"\$nodedown three\"]'"), 'who watches it is told, once');
$one->safe_psql('d', "SELECT actorstore.send('watcher', '$third', 'watch')");
ok(comes_true($one, 'd', "(SELECT value FROM actorstore.get('watcher', '$third')) = '[\"\$nodedown three\"]'"), 'so is who begins to watch it now');
stand_still($three, 'CONT');
ok(becomes($_, 'three', 'up'), $_->name . ' holds it to be up again') foreach $one, $two;
ok(becomes($three, $_->name, 'up'), 'which has nothing against ' . $_->name) foreach $one, $two;
ok(slurp_log($one) =~ /LOG:  node "three" is up again/, 'the log says that, too');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.execute_on_nodes('SELECT 1', '{}', '{three}')}), '1', 'it can be spoken to');
ok(comes_true($one, 'd', "(SELECT value FROM actorstore.get('watcher', '$_')) = '[\"\$nodedown three\", \"\$nodeup three\"]'"), 'who watches it is told that, too') foreach $first, $third;
is($one->safe_psql('d', "SELECT (actorstore.get('watcher', '$second')).version IS NULL"), 't', 'who does not any more is told nothing');

# ---- The process that asks stands still: nobody is suspected for that ----

my $downs = () = slurp_log($one) =~ /is down/g;
my $asker = $one->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore health'});
kill 'STOP', $asker;
select undef, undef, undef, 5;
kill 'CONT', $asker;
my $sent = $one->safe_psql('d', q{SELECT sum(heartbeats_answered) FROM actorstore.stat_peers});
ok(comes_true($one, 'd', "(SELECT sum(heartbeats_answered) FROM actorstore.stat_peers) > $sent + 10"), 'the one who asks had stood still, and goes on');
is(scalar(() = slurp_log($one) =~ /is down/g), $downs, 'nobody was held to be down');

# ---- One link is cut: the others vouch for the node ----

my $conninfo = $one->safe_psql('d', q{SELECT conninfo FROM actorstore.node WHERE node_name = 'two'});
$one->safe_psql('d', q{UPDATE actorstore.node SET conninfo = conninfo || ' port=1' WHERE node_name = 'two'});
ok(becomes($one, 'two', 'suspect'), 'a node that only one cannot reach is suspect to it');
ok(comes_true($three, 'd', q{(SELECT health FROM actorstore.stat_peers WHERE node_name = 'two') = 'suspect'}), 'and others hear of it');
my $heard = $one->safe_psql('d', q{SELECT heartbeats_answered FROM actorstore.stat_peers WHERE node_name = 'three'});
ok(comes_true($one, 'd', "(SELECT heartbeats_answered FROM actorstore.stat_peers WHERE node_name = 'three') > $heard + 20"), 'for a while');
is(join(' ', health($one, 'two'), health($three, 'two')), 'suspect suspect', 'nobody holds it to be down');
$one->safe_psql('d', "UPDATE actorstore.node SET conninfo = \$\$$conninfo\$\$ WHERE node_name = 'two'");
ok(becomes($one, 'two', 'up'), 'together again');

# ---- A node stops, and starts ----

$one->safe_psql('d', "SELECT actorstore.send('watcher', '$second', 'watch two')");
ok(handled($one, 'd', 'watcher'), 'an actor watches another node');
$two->stop('immediate');
ok(becomes($_, 'two', 'down'), 'a node is stopped: ' . $_->name . ' holds it to be down') foreach $one, $three;
is(sqlstate($one, 'd', q{SELECT actorstore.execute_on_nodes('SELECT 1', '{}', '{two}')}), '08006', 'it refuses');
sub second_is_told { my ($told, $name) = @_; ok(comes_true($one, 'd', "(SELECT value FROM actorstore.get('watcher', '$second')) = '$told'"), $name); return; }
second_is_told('["$nodedown two"]', 'who watches it is told');
$one->restart;
ok(becomes($one, 'two', 'down'), 'a server that has started knows it anew');
second_is_told('["$nodedown two", "$nodedown two"]', 'and tells once more');
$two->start;
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.execute_on_nodes('SELECT 1', '{}', '{two}')}), '1', 'and does no longer as soon as it is there');
ok(becomes($_, 'two', 'up'), $_->name . ' holds it to be up') foreach $one, $three;
second_is_told('["$nodedown two", "$nodedown two", "$nodeup two"]', 'and then that it is up');
is($_->safe_psql('d', q{SELECT reconnects > 0 FROM actorstore.stat_peers WHERE node_name = 'two'}), 't', $_->name . ' has connected to it anew') foreach $one, $three;

# ---- Who asks ----

my $uuid = $one->safe_psql('d', q{SELECT node_uuid FROM actorstore.node WHERE node_name = 'one'});
my $ask = sub { return $one->safe_psql('d', "SELECT hash IS NOT NULL, clock, opinions FROM actorstore.local_heartbeat('$uuid', 2::smallint, " . join(', ', @_) . ')') };
my ($hash) = rows($one, 'd', "SELECT hash FROM actorstore.local_heartbeat('$uuid', 2::smallint, NULL, NULL, NULL)");
is($ask->($hash, 'NULL', 'NULL'), 't||', 'who has heard the same is told nothing') if comes_true($one, 'd', "(SELECT hash FROM actorstore.local_heartbeat('$uuid', 2::smallint, NULL, NULL, NULL)) = $hash");
like($ask->('0', 'NULL', 'NULL'), qr/^t\|\{1:\d+,2:\d+,3:\d+\}\|$/, 'who has heard something else is told the clock');
like($ask->('0', q{'{}'}, 'NULL'), qr/^t\|\{1:\d+,2:\d+,3:\d+\}\|\{1,\d+,0,2,\d+,\d+/, 'and who tells his, what he lacks');
is(sqlstate($one, 'd', "SELECT actorstore.local_heartbeat('$uuid', 2::smallint, 0, NULL, '{$_}')"), '22023', "malformed: $_")
  foreach '1', '0,1,0', '1,0,0', '1,1,-1', '1,1,1', '1,1,11,1,1,1,1,1,1,1,1,1,1,1', '1,9223372036854775807,0', '40000,1,0', '1,1,1,0', 'NULL', '{1,1,0},{1,1,0}', join ',', ('1,1,0') x 257;
is(sqlstate($one, 'd', q{SELECT actorstore.local_heartbeat(gen_random_uuid(), 2::smallint, 0, NULL, NULL)}), '55000', 'another node is asked for');
is(sqlstate($one, 'd', q{SELECT actorstore.local_heartbeat(NULL, 2::smallint, 0, NULL, NULL)}), '22004', 'nobody is asked for');
unlike($ask->('0', 'NULL', q{'{77,5,0}'}), qr/^t\|.*[{,]77:/, 'a stranger is not taken in');
$one->safe_psql('d', 'CREATE ROLE somebody LOGIN');
is(sqlstate($one, 'd', "SET ROLE somebody; SELECT actorstore.local_heartbeat('$uuid', 2::smallint, 0, NULL, NULL)"), '42501', 'only nodes ask');

# Nobody asks any more.
set_off($_) foreach @nodes;
ok(comes_true($_, 'd', q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore health')}), $_->name . ' stops asking') foreach @nodes;

sub set_off
{
	my ($node) = @_;
	$node->append_conf('postgresql.conf', 'actorstore.heartbeat_interval = 0');
	$node->reload;
	return;
}

sub slurp_log { my ($node) = @_; return PostgreSQL::Test::Utils::slurp_file($node->logfile) }

$_->stop foreach @nodes;
done_testing();
