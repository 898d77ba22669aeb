# A node that will never return is removed with force: who may not be, who says
# so, whoever dies meanwhile; what becomes of its slots, of messages to it, of links and
# monitors, of transactions that it had begun; and that it stays out should it
# come back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { faults => 1, login => 'peer', settings => "actorstore.resolver_interval = 100ms\nmax_worker_processes = 16\nactorstore.workers = 2\nactorstore.in_doubt_alarm = 1h" });
my ($one, $two, $three) = @nodes;
my $force = q{SELECT actorstore.remove_node('three', force => true, slots_lost => true)};
my $members = q{SELECT string_agg(node_name, ' ' ORDER BY node_number) FROM actorstore.node};

$_->safe_psql('d', q{
	CREATE FUNCTION act(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		me record := actorstore.context();
	BEGIN
		CASE me.message
			WHEN 'make' THEN RETURN '[]';
			WHEN 'link' THEN PERFORM actorstore.link('plain', body ->> 'id');
			WHEN 'monitor' THEN PERFORM actorstore.monitor('plain', body ->> 'id');
			WHEN 'monitor_node' THEN PERFORM actorstore.monitor_node(body ->> 'id');
			ELSE RETURN coalesce(state, '[]') || to_jsonb(concat_ws(' ', me.message, body ->> 'actor_id', body ->> 'node_name', body ->> 'reason'));
		END CASE;
		RETURN NULL;
	END $$;
	CREATE ROLE alice LOGIN;
	GRANT CREATE ON DATABASE d TO alice}) foreach @nodes;
$one->safe_psql('d', q{SET ROLE alice; SELECT actorstore.create_type('plain', max_attempts => 1)});
$one->safe_psql('d', qq{SELECT actorstore.set_handler('plain', '$_', 'act(jsonb, jsonb)')}) foreach ('*', '$exit', '$down', '$nodedown');

my %at;
foreach (rows($one, 'd', q{SELECT actorstore.locate('plain', 'a' || i), 'a' || i FROM generate_series(1, 300) AS i}))
{
	my ($node, $id) = split /\|/;
	push @{ $at{$node} }, $id;
}
sub fresh { return shift @{ $at{ $_[0] } } }
sub value { return $one->safe_psql('d', "SELECT value FROM actorstore.get('plain', '$_[0]')") }
sub lives { return comes_true($one, 'd', "(SELECT value FROM actorstore.get('plain', '$_[0]')) = '$_[1]'") }
sub quiet { return comes_true($_[0], 'd', q{NOT EXISTS (SELECT FROM actorstore.outbox) AND NOT EXISTS (SELECT FROM actorstore.message) AND (SELECT coalesce(sum(on_their_way), 0) = 0 FROM actorstore.stat_outbox)}) }

# Bad input; nothing of it changes anything.
my $before = $one->safe_psql('d', 'SELECT actorstore.local_in_force()');
is(sqlstate($one, 'd', $force =~ s/three/nobody/r), '42704', 'a node that there is not');
is(sqlstate($one, 'd', $force), '55006', 'one that is alive');
like(($one->psql('d', $force))[2], qr/node "three" is alive.*answers node "one".*HINT:.*without force/s, 'which is said, and what to do');
is(sqlstate($three, 'd', $force), '22023', 'itself');
is(sqlstate($one, 'd', q{SELECT actorstore.remove_node('three', slots_lost => true)}), '22023', 'lost without force');
is(sqlstate($one, 'd', q{SELECT actorstore.remove_node('three', force => NULL)}), '22004', 'force that is NULL');
is(sqlstate($one, 'd', "SET ROLE alice; $force"), '42501', 'without rights');
is(sqlstate($one, 'd', "BEGIN; $force"), '25001', 'in a transaction block');
is($one->safe_psql('d', 'SELECT actorstore.local_in_force()'), $before, 'nothing has changed');

# What has to do with three.
my ($linked, $watcher, $both, $node_watcher) = (fresh('one'), fresh('two'), fresh('one'), fresh('two'));
my @lost = map { fresh('three') } 1 .. 3;
my $speaker = fresh('one');
$one->safe_psql('d', "SELECT actorstore.send('plain', '$_', 'make')") foreach ($linked, $watcher, $both, $node_watcher, @lost, $speaker);
quiet($_) foreach @nodes;
$one->safe_psql('d', qq{SELECT actorstore.send('plain', '$linked', 'link', '{"id": "$lost[0]"}'), actorstore.send('plain', '$watcher', 'monitor', '{"id": "$lost[1]"}'),
	actorstore.send('plain', '$both', 'link', '{"id": "$lost[2]"}'), actorstore.send('plain', '$both', 'monitor', '{"id": "$lost[2]"}'), actorstore.send('plain', '$node_watcher', 'monitor_node', '{"id": "three"}')});
$three->safe_psql('d', "SELECT actorstore.send('plain', '$speaker', 'hello')");
for (1 .. 2) { ok(quiet($_), 'quiet on ' . $_->name) foreach @nodes }
ok(lives($speaker, '["hello"]'), 'three has sent something');
my $uuid = $one->safe_psql('d', q{SELECT node_uuid FROM actorstore.node WHERE node_name = 'three'});
my $inbox = "SELECT incarnation, batch FROM actorstore.inbox WHERE origin = '$uuid'";
my $watermark = $one->safe_psql('d', $inbox);
isnt($watermark, '', 'of which one knows how far it came');

# It dies in the midst of: a transaction that it has not decided, one that it has, a message that has come but is not committed.
my (%global, @sessions);
foreach my $place (qw(K4 K5))
{
	my ($here, $there) = (fresh('one'), fresh('two'));
	my $session = ActorstoreTest::Session->new($three, 'd');

	$session->query("SET actorstore.fault = '$place:wait'; BEGIN; SELECT FROM actorstore.put('plain', '$here', '\"$place\"'); SELECT FROM actorstore.put('plain', '$there', '\"$place\"')");
	$session->start('COMMIT');
	reached($three, $place);
	$global{$place} = [ $here, $there ];
	push @sessions, $session;
}
my $prepared = 'SELECT gid FROM pg_prepared_xacts ORDER BY prepared';
($global{K4}[2], $global{K5}[2]) = rows($one, 'd', $prepared);
my ($sealed, $waiting) = (fresh('three'), fresh('three'));
$three->append_conf('postgresql.conf', q{actorstore.fault = 'deliver_stored:wait'});
$three->reload;
$one->safe_psql('d', "SELECT actorstore.send('plain', '$sealed', 'sealed')");
reached($three, 'deliver_stored');
$three->stop('immediate');
$three->append_conf('postgresql.conf', q{actorstore.fault = ''});
$one->safe_psql('d', "SELECT actorstore.send('plain', '$waiting', 'waiting')");

# Who says so, and how many.
is(sqlstate($one, 'd', q{SELECT actorstore.remove_node('three', force => true)}), '55000', 'its slots must be said to be lost');
like(($one->psql('d', q{SELECT actorstore.remove_node('three', force => true)}))[2], qr/HINT:.*backup.*slots_lost => true/s, 'or are to be restored');
$two->stop('immediate');
is(sqlstate($one, 'd', $force), 'VA009', 'a minority removes nobody');
$two->start;
is($one->safe_psql('d', 'SELECT actorstore.local_in_force()'), $before, 'still nothing has changed');

# Who proposes it dies at each step.
foreach my $step ([ 'member_promised', 0 ], [ 'member_consented', 0 ], [ 'member_accepted', 1 ])
{
	my ($place, $survives) = @$step;
	my $session = ActorstoreTest::Session->new($one, 'd');

	$session->query("SET actorstore.fault = '$place:wait'");
	$session->start($force);
	reached($one, $place);
	$one->stop('immediate');
	is($two->safe_psql('d', $members), 'one two three', "$place: it is a node still");
	$one->start;
	next unless $survives;
	is(sqlstate($two, 'd', $force), '42704', "$place: what was accepted is finished: there is no such node any more");
}
ok($_->poll_query_until('d', $members, 'one two'), $_->name . ' knows') foreach ($one, $two);
is($two->safe_psql('d', 'SELECT actorstore.local_in_force()'), $one->safe_psql('d', 'SELECT actorstore.local_in_force()'), 'both have the same epoch');
is($one->safe_psql('d', q{SELECT string_agg(node_name || ' ' || n, ', ' ORDER BY node_name) FROM (SELECT node_name, count(*) AS n FROM actorstore.placement GROUP BY 1) AS p}), 'one 2048, two 2048', 'its slots are the others\'');
is($one->safe_psql('d', qq{SELECT lost -> '$uuid' ->> 'node_name', length(replace(lost -> '$uuid' ->> 'slots', '0', '')) FROM actorstore.epoch ORDER BY epoch DESC LIMIT 1}), 'three|1365', 'and it is known which they were')
  or diag $one->safe_psql('d', 'SELECT lost FROM actorstore.epoch ORDER BY epoch DESC LIMIT 1');

# Actors, messages.
is(value($lost[0]), '', 'its actors are no more');
ok(lives($waiting, '["waiting"]'), 'what had not left goes to who has the slot now');
# (One has died meanwhile, and does not know what three had answered for within the last minutes.)
is($one->safe_psql('d', q{SELECT actor_id, reason FROM actorstore.dead_letter WHERE message <> 'make'}), "$sealed|node removed", 'what may have been handled is a dead letter');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.dead_letter WHERE reason <> 'node removed'}), '0', 'and nothing else is');
is($one->safe_psql('d', qq{SELECT actorstore.redrive('plain', '$sealed')}), '1', 'that can be sent again');
ok(lives($sealed, '["sealed"]'), 'and arrives');
is($one->safe_psql('d', $inbox), $watermark, 'how far its messages had come is kept');
is($_->safe_psql('d', 'SELECT count(*) FROM actorstore.outbox_batch WHERE node_number = 3'), '0', 'nothing is kept for it on ' . $_->name) foreach ($one, $two);

# Links and monitors.
ok(lives($linked, qq{["\$exit $lost[0] nodedown"]}), 'who was linked to an actor that is lost is told');
ok(lives($watcher, qq{["\$down $lost[1] nodedown"]}), 'so is who monitored one');
ok(comes_true($one, 'd', qq{(SELECT value \@> '["\$exit $lost[2] nodedown", "\$down $lost[2] nodedown"]' AND jsonb_array_length(value) = 2 FROM actorstore.get('plain', '$both'))}), 'or both');
ok(lives($node_watcher, '["$nodedown three"]'), 'who watches nodes is told once');
ok(comes_true($_, 'd', q{NOT EXISTS (SELECT FROM actorstore.link) AND NOT EXISTS (SELECT FROM actorstore.watcher) AND NOT EXISTS (SELECT FROM actorstore.monitor WHERE peer_type <> '')}), 'no half of one stays on ' . $_->name) foreach ($one, $two);

# Transactions that it had begun: nobody knows, so somebody decides.
is($_->safe_psql('d', 'SELECT actorstore.resolve_in_doubt()'), '0', 'the resolver leaves alone what it cannot know') foreach ($one, $two);
is($_->safe_psql('d', q{SELECT count(*), min(node_name) FROM actorstore.in_doubt WHERE state = 'prepared'}), '2|three', 'they are in doubt on ' . $_->name) foreach ($one, $two);
is($one->safe_psql('d', q{SELECT ok, detail FROM actorstore.doctor() WHERE item = 'in doubt for ever'}), 'f|2 parts of transactions are prepared here for nodes that were declared lost', 'which doctor() says at once');
is(sqlstate($one, 'd', q{SELECT actorstore.resolve_in_doubt('nonsense', true)}), '22023', 'no global id');
is(sqlstate($one, 'd', q{SELECT actorstore.resolve_in_doubt(NULL, true)}), '22004', 'none at all');
is(sqlstate($one, 'd', "SELECT actorstore.resolve_in_doubt('$global{K4}[2]', NULL)"), '22004', 'no verdict');
is(sqlstate($one, 'd', "SET ROLE alice; SELECT actorstore.resolve_in_doubt('$global{K4}[2]', false)"), '42501', 'without rights');
my $own = "actorstore_" . $one->safe_psql('d', 'SELECT node_uuid FROM actorstore.node WHERE is_self') . '_4294967297_1_700_2';
is(sqlstate($two, 'd', "SELECT actorstore.resolve_in_doubt('$own', true)"), '55006', 'one whose coordinator is alive');
is(sqlstate($one, 'd', "SELECT actorstore.resolve_in_doubt('$own', true)"), '55000', 'or is this node');
is(sqlstate($one, 'd', "SELECT actorstore.resolve_in_doubt('actorstore_${uuid}_4294967297_1_700_2', true)"), '42704', 'one that is not there');
is($one->safe_psql('d', "SELECT actorstore.resolve_in_doubt('$global{K4}[2]', false)"), '2', 'rolled back on both');
is(value($global{K4}[$_]), '', 'nothing of it is there') foreach (0, 1);
$two->stop('immediate');
is(sqlstate($one, 'd', "SELECT actorstore.resolve_in_doubt('$global{K5}[2]', true)"), '08006', 'all must be there');
$two->start;

# Whoever says so dies in between.
my $session = ActorstoreTest::Session->new($two, 'd');
$session->query(q{SET actorstore.fault = 'verdict_one:wait'});
$session->start("SELECT actorstore.resolve_in_doubt('$global{K5}[2]', true)");
reached($two, 'verdict_one');
$two->stop('immediate');
$two->start;
is(sqlstate($two, 'd', "SELECT actorstore.resolve_in_doubt('$global{K5}[2]', false)"), '55000', 'half of it is committed: so the other half cannot be rolled back');
is($two->safe_psql('d', "SELECT actorstore.resolve_in_doubt('$global{K5}[2]', true)"), '1', 'but committed');
is(value($global{K5}[$_]), '"K5"', 'all of it is there') foreach (0, 1);
is($_->safe_psql('d', q{SELECT count(*) FROM actorstore.doctor() WHERE item = 'in doubt for ever'}), '0', 'no alarm any more') foreach ($one, $two);

# It comes back, and does not know yet.
sub everything
{
	return join "\n", map { my $node = $_; map { rows($node, 'd', $_) } 'SELECT actorstore.local_in_force()', q{SELECT actor_type, actor_id, value, version FROM actorstore.actor ORDER BY 1, 2},
		  'SELECT gid FROM pg_prepared_xacts ORDER BY 1', 'SELECT * FROM actorstore.inbox ORDER BY 1, 2', 'SELECT message_id FROM actorstore.message ORDER BY 1', 'SELECT message_id FROM actorstore.dead_message ORDER BY 1', 'SELECT epoch, promised, accepted FROM actorstore.ballot ORDER BY 1' } ($one, $two);
}
quiet($_) foreach ($one, $two);
my $all = everything();
$three->append_conf('postgresql.conf', 'actorstore.resolver_interval = 1h');
{
	local $ENV{PGOPTIONS} = "-c actorstore.coordinator=1.1.$uuid";
	is(sqlstate($two, 'd', $_), 'VA007', "refused: $_") foreach ('SELECT actorstore.local_promise(100, 100)', 'SELECT actorstore.local_watermarks(gen_random_uuid())',
		'SELECT actorstore.local_accept(100, 100, actorstore.local_in_force())', 'SELECT actorstore.local_learn(actorstore.local_in_force())', "ROLLBACK PREPARED 'x'", "COMMIT PREPARED 'x'", 'SELECT 1', 'BEGIN; COMMIT');
	is(sqlstate($two, 'd', 'SELECT actorstore.local_epoch()'), '00000', 'but it may ask which epoch is in force');
}
$three->start;
my $victim = fresh('two');
is(sqlstate($three, 'd', "SELECT actorstore.put('plain', '$victim', '1')"), 'VA007', 'it writes nothing elsewhere');
is(sqlstate($three, 'd', q{SELECT actorstore.set_node_weight('one', 7)}), 'VA007', 'changes no map');
my $log = -s $three->logfile;
$three->psql('d', "SELECT actorstore.send('plain', '$victim', 'from the dead')");
$three->safe_psql('d', q{ALTER SYSTEM SET actorstore.resolver_interval = '100ms'});
$three->restart;
my $gone = 0;
foreach (1 .. 10 * 180)
{
	$gone = sqlstate($three, 'd', "SELECT actorstore.locate('plain', 'a')") eq 'VA007';
	last if $gone;
	select(undef, undef, undef, 0.1);
}
ok($gone, 'it learns that it is none any more');
is(sqlstate($three, 'd', "SELECT $_"), 'VA007', "and refuses: $_") foreach ("actorstore.put('plain', '$lost[0]', '1')", "actorstore.get('plain', '$victim')", "actorstore.send('plain', '$lost[0]', 'x')", "actorstore.call('plain', '$lost[0]', 'x')");
is(everything(), $all, 'it has changed nothing');
$three->restart;
is(sqlstate($three, 'd', "SELECT actorstore.put('plain', '$lost[0]', '1')"), 'VA007', 'so it stays');

# What it, or a backup of it, still has can be read there, and put in.
my $saved = $three->safe_psql('d', qq{SELECT format('SELECT actorstore.insert_many(%L, %L::text[], %L::jsonb[])', actor_type, array_agg(actor_id ORDER BY actor_id), array_agg(value ORDER BY actor_id)) FROM actorstore.actor
	WHERE actor_id IN ('$lost[0]', '$lost[1]') GROUP BY actor_type});
is($one->safe_psql('d', $saved), '2', 'two actors are saved');
is(value($_), '[]', 'and live') foreach @lost[ 0, 1 ];

# The two go on; another database comes in its place, with another number.
$three->stop;
is(sqlstate($one, 'd', q{SELECT actorstore.set_node_weight('two', 300)}), '00000', 'the two change their shares');
is($one->safe_psql('d', qq{SELECT lost ? '$uuid' FROM actorstore.epoch ORDER BY epoch DESC LIMIT 1}), 't', 'and remember it');
$_->stop foreach ($one, $two);
done_testing();
