# What is done with actors of other nodes beside state and messages: groups,
# pause and resume, dead letters; and that clients check out what lives on their
# node.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { login => 'peer', settings => "actorstore.workers = 2\nmax_worker_processes = 16\nactorstore.resolver_interval = 100ms" });
my ($one, $two, $three) = @nodes;
sub prepare
{
	my ($node) = @_;

	$node->safe_psql('d', q{
		CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; GRANT CREATE ON DATABASE d TO alice, bob;
		GRANT EXECUTE ON FUNCTION actorstore.pause, actorstore.resume, actorstore.redrive, actorstore.purge_dead_letters TO alice, bob;
		SET ROLE alice; CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC;
		CREATE FUNCTION app.run(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		DECLARE
			answer text;
		BEGIN
			EXECUTE body ->> 'sql' INTO answer;
			PERFORM actorstore.reply(to_jsonb(answer));
			RETURN coalesce(state, '0');
		END $$;
		CREATE FUNCTION app.count(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN to_jsonb(coalesce(state, '0')::int + 1)});
	return;
}
prepare($_) foreach @nodes;
my $session = ActorstoreTest::Session->new($one, 'd');
my $bob = ActorstoreTest::Session->new($three, 'd');
sub q1 { return $session->query($_[0]); }
q1('SET ROLE alice');
$bob->query('SET ROLE bob');
q1(q{SELECT actorstore.create_type('t', max_attempts => 1), actorstore.set_handler('t', 'run', 'app.run(jsonb, jsonb)'), actorstore.set_handler('t', 'count', 'app.count(jsonb, jsonb)'),
	actorstore.grant_type('t', 'bob', '{ask,send}')});
q1(q{SELECT actorstore.create_type('o'), actorstore.set_handler('o', 'work', 'actorstore.outside(jsonb, jsonb)')});
$bob->query(q{SELECT actorstore.create_type('b')});

my %of;
push @{ $of{ (split /\|/)[0] } }, (split /\|/)[1] foreach rows($one, 'd', q{SELECT actorstore.locate('t', 'a' || i), 'a' || i FROM generate_series(10, 199) AS i});
my ($here, $there, $far) = map { $of{$_}[0] } qw(one two three);
sub run { my ($sql) = @_; return q{'run', jsonb_build_object('sql', $q$} . $sql . '$q$)'; }
sub on_each { my ($sql) = @_; return join ' ', map { $_->safe_psql('d', $sql) } @nodes; }
sub value_on { my ($node, $id) = @_; return $node->safe_psql('d', "SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$id'"); }
sub located { my ($type, $name) = @_; return $one->safe_psql('d', "SELECT 'x' || i FROM generate_series(1, 1000) AS i WHERE actorstore.locate('$type', 'x' || i) = '$name' ORDER BY i LIMIT 1"); }

# Groups
sub join_group { my ($who, $group, $type, $id) = @_; return $who->query("SELECT actorstore.join_group('$group', '$type', '$id')"); }
is(join(' ', map { join_group($session, 'room', 't', $_) } $here, $there, $far, $of{three}[1]), 't t t t', 'actors of three nodes join a group');
is(join(' ', map { join_group($session, 'room', 't', $_) } $here, $there, $far), 'f f f', 'they are in it');
is(on_each("SELECT string_agg(concat(owner, ' ', actor_id), ',' ORDER BY actor_id) FROM actorstore.group_member"), "alice $here alice $there alice $far,alice $of{three}[1]", 'each on its node, the group of one role');
is(join_group($session, 'lone', 't', $there), 't', 'a group on one node');
my ($b_here, $b_there, $b_far) = map { located('b', $_) } qw(one two three);
is(join_group($bob, 'room', 'b', $b_there), 'ERROR:  42501', 'another role may not, where the group is known');
is(join_group($bob, 'lone', 'b', $b_here), 'ERROR:  42501', 'nor where it is not');
is(join_group($bob, 'lone', 't', $there), 'ERROR:  42501', 'nor with an actor that it may not write');
is($bob->query("SELECT actorstore.leave_group('lone', 't', '$there')"), 'ERROR:  42501', 'nor let it leave');
is($three->safe_psql('d', "SELECT actorstore.join_group('lone', 't', '$far')"), 't', 'a superuser may here');
is($three->safe_psql('d', "SELECT actorstore.leave_group('lone', 't', '$far')"), 't', 'and let it leave');
is($three->safe_psql('d', "SELECT actorstore.join_group('lone', 't', '$of{two}[5]')"), 't', 'elsewhere he stands for the owner of the type');
is($three->safe_psql('d', "SELECT actorstore.leave_group('lone', 't', '$of{two}[5]')"), 't', 'likewise');

# Two roles make the same group at once, on two nodes.
q1('BEGIN'); is(join_group($session, 'new', 't', $there), 't', 'one role makes a group');
$bob->start("SELECT actorstore.join_group('new', 'b', '$b_far')");
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND wait_event_type = 'Lock' AND query ~ 'local_group_owner')}), 'another one waits');
q1('ROLLBACK');
is($bob->finish, 't', 'it is his, as the first has gone back');
is(join_group($session, 'new', 't', $there), 'ERROR:  42501', 'and not hers');
$bob->query("BEGIN; SELECT actorstore.leave_group('new', 'b', '$b_far')"); $bob->query('COMMIT');
q1('BEGIN'); is(join_group($session, 'new', 't', $there), 't', 'once he has left it is nobody\'s');
$bob->start("SELECT actorstore.join_group('new', 'b', '$b_far')");
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND wait_event_type = 'Lock' AND query ~ 'local_group_owner')}), 'he waits');
q1("SELECT actorstore.put('t', '$_', '0')") foreach $here, $far;
q1('COMMIT');
is($bob->finish, 'ERROR:  42501', 'it is hers');

# A broadcast reaches all members, with the transaction.
q1("SELECT actorstore.put('t', '$_', '0')") foreach $here, $there, $far, $of{three}[1];
is($_->safe_psql('d', "SELECT actorstore.broadcast('room', 'count')"), '4', 'a broadcast from node ' . $_->name) foreach @nodes;
q1('BEGIN'); is(q1("SELECT actorstore.broadcast('room', 'count')"), '4', 'one that is not committed'); q1('ROLLBACK');
sub counted { my ($n) = @_; ok(comes_true($_->[0], 'd', "(SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$_->[1]') = '$n'"), "$_->[1] has got $n") foreach [ $one, $here ], [ $two, $there ], [ $three, $far ], [ $three, $of{three}[1] ]; return; }
counted(3);
is(q1("SELECT actorstore.ask('t', '$here', " . run("SELECT actorstore.broadcast('room', 'count')") . ')'), '"4"', 'from a turn');
counted(4);
is(q1("SELECT actorstore.call('t', '$there', " . run("SELECT actorstore.broadcast('room', 'count')") . ')'), 'ERROR:  0A000', 'not from what another node has called');
is($bob->query("SELECT actorstore.broadcast('room', 'count')"), '4', 'whoever may send');
$one->safe_psql('d', "SELECT actorstore.revoke_type('t', 'bob', '{send}')");
is($bob->query("SELECT actorstore.broadcast('room', 'count')"), 'ERROR:  42501', 'nobody else');
counted(5);
is(q1("SELECT actorstore.ask('t', '$of{three}[1]', " . run('SELECT actorstore.stop()') . ')'), '""', 'one stops');
is(q1("SELECT actorstore.broadcast('room', 'count')"), '3', 'and is not in it any more');
is(join_group($session, 'room', 't', $of{three}[1]), 'ERROR:  VA005', 'nor can it be');
is(q1("SELECT actorstore.leave_group('room', 't', '$_')"), 't', "$_ leaves") foreach $here, $there;
is(q1("SELECT actorstore.leave_group('room', 't', '$_')"), 'f', 'it has left') foreach $here, $there;
is(q1("SELECT actorstore.broadcast('room', 'count')"), '1', 'one is left');
q1('BEGIN'); is(join_group($session, 'room', 't', $there), 't', 'joined in a transaction'); is(q1("SELECT actorstore.broadcast('room', 'count')"), '2', 'which sees it'); q1('ROLLBACK');

# Pause and resume
sub halted { return on_each(q{SELECT coalesce(string_agg(concat(actor_type, '.', actor_id), ','), '-') FROM (SELECT * FROM actorstore.halted WHERE NOT stopped ORDER BY 1, 2) AS h}); }
is(q1("SELECT actorstore.pause('t', '$there')"), '', 'an actor of another node is paused');
is(halted(), "- t.$there -", 'there');
is(q1("SELECT actorstore.ask('t', '$there', 'count')"), 'ERROR:  VA005', 'it is');
is($bob->query("SELECT actorstore.resume('t', '$there')"), 'ERROR:  42501', 'for the owner of the type');
is($three->safe_psql('d', "SELECT actorstore.resume('t', '$there')"), 't', 'a third node lets it go on');
is(q1("SELECT actorstore.resume('t', '$there')"), 'f', 'it does');
is(q1("SELECT actorstore.ask('t', '$there', 'count') > '0'"), 't', 'as one sees');
is(q1("SELECT actorstore.pause('t', '$of{three}[1]')"), 'ERROR:  VA005', 'one that is stopped cannot be paused');
is(q1("SELECT actorstore.resume('t', '$of{three}[1]')"), 't', 'it can go on');

# One transaction on several nodes, and savepoints of it.
q1('BEGIN'); q1("SELECT actorstore.pause('t', '$_')") foreach $here, $there;
q1("SAVEPOINT a; SELECT actorstore.pause('t', '$far'), actorstore.resume('t', '$there'), actorstore.join_group('half', 't', '$far')"); q1('ROLLBACK TO a');
is(join_group($session, 'half', 't', $_), 't', 'joined') foreach $here, $there;
is(halted(), "- - -", 'nobody sees it yet');
q1('COMMIT');
is(halted(), "t.$here t.$there -", 'all that was not rolled back is done');
is(on_each("SELECT count(*) FROM actorstore.group_member WHERE group_name = 'half'"), '1 1 0', 'in groups, too');
q1('BEGIN'); is(q1("SELECT actorstore.resume('t', '$_')"), 't', 'goes on') foreach $here, $there;
is(q1("SELECT actorstore.leave_group('half', 't', '$_')"), 't', 'leaves') foreach $here, $there;
q1('COMMIT');
is(halted() . on_each("SELECT count(*) FROM actorstore.group_member WHERE group_name = 'half'"), '- - -0 0 0', 'all of it');

q1('BEGIN'); q1("SELECT actorstore.pause('t')"); is(q1("SELECT actorstore.resume('t')"), 't', 'a type is paused, and is not'); q1('ROLLBACK');
q1("SELECT actorstore.pause('t')");
is(halted(), 't. t. t.', 'a type is paused everywhere');
is(q1("SELECT actorstore.ask('t', '$_', 'count')"), 'ERROR:  VA005', 'all are') foreach $here, $there, $far;
my $four = new_node('four', settings => 'max_prepared_transactions = 10', tls => with_tls());
new_database_with_actors($four, 'd');
admit_peers($four, 'd');
prepare($four);
$four->safe_psql('d', 'CREATE ROLE peer LOGIN; ' . join '; ', rows($four, 'd', q{SELECT format('GRANT EXECUTE ON FUNCTION %s TO peer', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace AND starts_with(proname, 'local_')}));
$one->safe_psql('d', q{SELECT actorstore.add_node('four', $$} . peer_conninfo($four, 'd') . (with_tls() ? '' : ' user=peer') . q{$$)});
push @nodes, $four;
is(halted(), 't. t. t. t.', 'also on a node that comes');
is(q1("SELECT actorstore.resume('t')"), 't', 'and goes on everywhere');
is(halted(), '- - - -', 'on each');
is(q1("SELECT actorstore.resume('t')"), 'f', 'it was not paused');

# Dead letters
my ($a, $b, $c) = map { my $name = $_; $one->safe_psql('d', "SELECT 'd' || i FROM generate_series(1, 1000) AS i WHERE actorstore.locate('t', 'd' || i) = '$name' ORDER BY i LIMIT 1") } qw(one two three);
q1("SELECT actorstore.send('t', id, 'late') FROM unnest('{$a,$b,$b,$c,$c}'::text[]) AS id");
sub dead { return on_each(q{SELECT count(*) FROM actorstore.dead_message WHERE actor_type = 't'}); }
ok(comes_true($_->[0], 'd', "(SELECT count(*) FROM actorstore.dead_message WHERE actor_type = 't') = $_->[1]"), 'dead letters') foreach [ $one, 1 ], [ $two, 2 ], [ $three, 2 ];
q1(q{SELECT actorstore.set_handler('t', 'late', 'app.count(jsonb, jsonb)')});
is($bob->query("SELECT actorstore.redrive('t')"), 'ERROR:  42501', 'for the owner of the type');
is(q1("SELECT actorstore.redrive('t', '$b')"), '2', 'those of an actor of another node are sent once more');
ok(comes_true($two, 'd', "(SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$b') = '2'"), 'and handled');
is(dead(), '1 0 2 0', 'the others wait');
is(q1("SELECT actorstore.redrive('t', max_rows => 2)"), '2', 'some of all nodes\'');
is(dead(), '0 0 1 0', 'one after the other');
$one->safe_psql('d', qq{INSERT INTO actorstore.dead_message SELECT (jsonb_populate_record(NULL::actorstore.dead_message, '{"message_id": 1, "actor_type": "t", "actor_id": "$c", "message": "late", "priority": 4, "attempts": 0, "reason": "outbox full"}'::jsonb || jsonb_build_object('sent_at', now(), 'died_at', now()))).*});
is(q1("SELECT actorstore.redrive('t', '$c')"), '2', 'what could not leave here is sent, too');
ok(comes_true($three, 'd', "(SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$c') = '3'"), 'and arrives');
q1("SELECT actorstore.send('t', id, 'never') FROM unnest('{$a,$b,$b,$c,$c}'::text[]) AS id");
ok(comes_true($_->[0], 'd', "(SELECT count(*) FROM actorstore.dead_message WHERE actor_type = 't') = $_->[1]"), 'dead letters') foreach [ $one, 1 ], [ $two, 2 ], [ $three, 2 ];
is(q1(q{SELECT actorstore.purge_dead_letters('t', 'epoch')}), '0', 'none is so old');
is(q1(q{SELECT actorstore.purge_dead_letters('t', now() + '1 day')}), '5', 'all are purged');
is(dead(), '0 0 0 0', 'everywhere');

# Clients check out what lives on their node; what they send goes where it belongs.
my ($o_here, $o_there) = map { located('o', $_) } qw(one two);
q1("SELECT actorstore.send('o', '$_', 'work')") foreach $o_here, $o_there;
ok(comes_true($two, 'd', q{(SELECT count(*) FROM actorstore.message WHERE actor_type = 'o') = 1}), 'the message is on its node');
is(q1(q{SELECT string_agg(actor_id, ',') FROM actorstore.checkout('w', '{o}', max_turns => 10, max_wait => '10 s')}), $o_here, 'a client gets what lives here');
my $client = ActorstoreTest::Session->new($two, 'd');
$client->query('SET ROLE alice');
like($client->query(q{SELECT actor_id FROM actorstore.checkout('w', '{o}', max_turns => 10, max_wait => '10 s')}), qr/^$o_there$/, 'and there');
is($client->query(qq{SELECT actorstore.complete(turn_id, token, '1', '[{"actor_type": "t", "actor_id": "$here", "message": "count"}, {"actor_type": "t", "actor_id": "$c", "message": "count"}]') FROM actorstore.lease}), 'ERROR:  42501', 'leases are nobody\'s');
my $ids = $two->safe_psql('d', 'SELECT turn_id, token FROM actorstore.lease') =~ s/\|/, /r;
my $was = value_on($one, $here);
$client->query(qq{SELECT actorstore.complete($ids, '1', '[{"actor_type": "t", "actor_id": "$here", "message": "count"}, {"actor_type": "t", "actor_id": "$c", "message": "count"}]')});
ok(comes_true($one, 'd', "(SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$here') = '" . ($was + 1) . "'"), 'what it sends goes to one node');
ok(comes_true($three, 'd', "(SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$c') = '4'"), 'and to another');
$session->start("SELECT actorstore.ask('o', '$o_there', 'work', timeout => '3 min')");
like($client->query(q{SELECT actor_id, turn_id || ', ' || token, messages -> 0 ->> 'message_id' FROM actorstore.checkout('w', '{o}', max_wait => '3 min')}), qr/^$o_there\|/, 'a question from another node is offered');
$ids = $two->safe_psql('d', 'SELECT turn_id, token FROM actorstore.lease') =~ s/\|/, /r;
$client->query("SELECT actorstore.complete($ids, '\"done\"')");
is($session->finish, '"done"', 'and its answer goes back');

# A node that is down.
$three->stop('immediate');
is(join_group($session, 'room', 't', $here), 'ERROR:  08006', 'nobody knows whose a group is');
is(join_group($session, 'lone', 't', $b), 't', 'unless its node does');
is(q1("SELECT actorstore.broadcast('room', 'count')"), 'ERROR:  08006', 'nor who is in it');
is(q1("SELECT actorstore.pause('t', '$there')"), '', 'an actor of one that is not is paused');
is(q1("SELECT actorstore.pause('t')"), 'ERROR:  08006', 'but no type');
$three->start;
is(q1("SELECT actorstore.broadcast('room', 'count')"), '1', 'it is back');

$_->quit foreach $session, $bob, $client;
$_->stop foreach @nodes;
done_testing();
