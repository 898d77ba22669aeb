# One node does not hear of an epoch that the others know, and nothing but the
# work with another node tells it: whoever asks it for an actor, or asks others for
# one through it, is served all the same, as part of his transaction.  An epoch
# that cannot be fetched is VA007, within actorstore.peer_timeout.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

# no resolver looks around by itself
my @nodes = new_cluster('one', 'two', 'three', { login => 'peer', settings => "max_worker_processes = 24\nactorstore.resolver_interval = 1h\nactorstore.peer_timeout = 1min\n" });
my ($one, $two, $three) = @nodes;
my %number = (one => 1, two => 2, three => 3);
$_->safe_psql('d', q{
	CREATE ROLE alice; GRANT CREATE ON DATABASE d TO alice;
	CREATE FUNCTION plus(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM actorstore.reply(body);
		RETURN to_jsonb(coalesce(state::int, 0) + 1);
	END $$}) foreach @nodes;
$one->safe_psql('d', q{SET ROLE alice; SELECT actorstore.create_type('t'), actorstore.set_handler('t', 'plus', 'plus(jsonb,jsonb)'), actorstore.create_type('held')});

# Ids, no two in one slot, that nobody has used.
my %free;
push @{ $free{ (split /\|/)[0] } }, (split /\|/)[1]
  foreach rows($one, 'd', q{SELECT actorstore.locate('t', min(i)::text), min(i) FROM generate_series(1, 3000) AS i GROUP BY actorstore.slot_of('t', i::text), actorstore.locate('t', i::text)});

sub epochs { return join ' ', map { $_->safe_psql('d', 'SELECT max(epoch) FROM actorstore.epoch') } @nodes; }

# Another epoch by which an unused id belongs to another node; all but $deaf, or several of them, know it.
sub move_on
{
	my ($deaf, $from, $to) = @_;
	my $id = shift @{ $free{$from} };
	my @deaf = ref $deaf eq 'ARRAY' ? @$deaf : $deaf;
	my $owners = "owners[:SLOT] || $number{$to}::smallint || owners[SLOT + 2:]" =~ s/SLOT/actorstore.slot_of('t', '$id')/gr;

	$_->safe_psql('d', qq{INSERT INTO actorstore.epoch SELECT * FROM jsonb_populate_record(NULL::actorstore.epoch,
		(SELECT to_jsonb(e) || jsonb_build_object('epoch', epoch + 1, 'owners', $owners) FROM actorstore.epoch AS e ORDER BY epoch DESC LIMIT 1))})
	  foreach grep { my $node = $_; !grep { $_ == $node } @deaf } @nodes;
	return $id;
}

my $session = ActorstoreTest::Session->new($one, 'd');
sub q1 { return $session->query($_[0]); }

# What is done for an actor that has gone from two to three: before that, on three; what comes of it; what is there then.
my @kinds = (
	[ 'get', q{SELECT actorstore.put('t', 'ID', '7')}, q{SELECT value FROM actorstore.get('t', 'ID')}, '7' ],
	[ 'get_many', q{SELECT actorstore.put('t', 'ID', '7')}, q{SELECT value FROM actorstore.get_many('t', '{ID,none}')}, '7' ],
	[ 'get_many with a lock', q{SELECT actorstore.put('t', 'ID', '7')}, q{SELECT value FROM actorstore.get_many('t', '{ID}', lock => 'update')}, '7' ],
	[ 'put', '', q{SELECT (actorstore.put('t', 'ID', '1')).version}, '0', q{SELECT value FROM actorstore.get('t', 'ID')}, '1' ],
	[ 'insert', '', q{SELECT (actorstore.insert('t', 'ID', '1')).version}, '0', q{SELECT value FROM actorstore.get('t', 'ID')}, '1' ],
	[ 'compare_and_swap', q{SELECT actorstore.put('t', 'ID', '7')}, q{SELECT swapped FROM actorstore.compare_and_swap('t', 'ID', 0, '8')}, 't', q{SELECT value FROM actorstore.get('t', 'ID')}, '8' ],
	[ 'delete', q{SELECT actorstore.put('t', 'ID', '7')}, q{SELECT (actorstore.delete('t', 'ID')).value}, '7', q{SELECT count(*) FROM actorstore.actor WHERE actor_id = 'ID'}, '0' ],
	[ 'put_many', '', q{SELECT actorstore.put_many('t', '{ID,NEAR}', '{5,6}')}, '2', q{SELECT value FROM actorstore.get('t', 'ID')}, '5' ],
	[ 'call', '', q{SELECT actorstore.call('t', 'ID', 'plus', '3')}, '3', q{SELECT value FROM actorstore.get('t', 'ID')}, '1' ],
	[ 'ask', '', q{SELECT actorstore.ask('t', 'ID', 'plus', '3')}, '3', q{SELECT value FROM actorstore.get('t', 'ID')}, '1' ],
	[ 'cancel_timer', q{SELECT actorstore.set_timer('t', 'ID', 'n', 'm', after => '1 day')}, q{SELECT actorstore.cancel_timer('t', 'ID', 'n')}, 't', q{SELECT count(*) FROM actorstore.timer WHERE actor_id = 'ID'}, '0' ],
	[ 'pause', '', q{SELECT actorstore.pause('t', 'ID')}, '', q{SELECT count(*) FROM actorstore.halted WHERE actor_id = 'ID'}, '1' ],
	[ 'join_group', q{SELECT actorstore.put('t', 'ID', '7')}, q{SELECT actorstore.join_group('gID', 't', 'ID')}, 't', q{SELECT count(*) FROM actorstore.group_member WHERE actor_id = 'ID'}, '1' ],
	[ 'leave_group', q{SELECT actorstore.join_group('gID', 't', 'ID')}, q{SELECT actorstore.leave_group('gID', 't', 'ID')}, 't', q{SELECT count(*) FROM actorstore.group_member WHERE actor_id = 'ID'}, '0' ],
	[ 'broadcast', q{SELECT actorstore.join_group('gID', 't', 'ID')}, q{SELECT actorstore.broadcast('gID', 'plus', '1')}, '1' ],
	[ 'send', '', q{SELECT actorstore.send('t', 'ID', 'plus', '1') > 0}, 't' ],
	[ 'pause of a type', '', q{SELECT actorstore.pause('held')}, '', q{SELECT count(*) FROM actorstore.halted WHERE actor_type = 'held'}, '1' ],
	[ 'resume of a type', '', q{SELECT actorstore.resume('held')}, 't', q{SELECT count(*) FROM actorstore.halted WHERE actor_type = 'held'}, '0' ],
	[ 'purge_dead_letters', '', q{SELECT actorstore.purge_dead_letters('t', now())}, '0' ]);

# A transaction that has written on all nodes is told of it by the way, and goes on.
my @stay = map { shift @{ $free{$_} } } qw(one two three);
my $n = 0;
sub in_transaction
{
	my ($deaf, $name, $prepare, $sql, $expected, $look, $found) = @_;
	my $put = sprintf q{SELECT count(actorstore.put('t', i, '%d')) FROM unnest('{%s}'::text[]) AS i}, ++$n, join ',', @stay;

	q1('BEGIN');
	q1($put);
	my $id = move_on($deaf, 'two', 'three');
	my ($here) = @{ $free{one} };
	s/ID/$id/g, s/NEAR/$here/g foreach $prepare, $sql, $look;
	$three->safe_psql('d', $prepare) if $prepare;
	q1('SAVEPOINT a');
	is(q1($sql), $expected, $name);
	q1('RELEASE a');
	is(q1('COMMIT'), '', "$name: commits");
	is($three->safe_psql('d', $look), $found, "$name: done there") if $look;
	is($one->safe_psql('d', sprintf q{SELECT count(*) FROM actorstore.get_many('t', '{%s}') WHERE value = '%d'}, join(',', @stay), $n), '3', "$name: with what was done before");
	like(epochs(), qr/^(\d+) \1 \1$/, "$name: all know it by now") unless $name eq 'send';
	return $id;
}
in_transaction($one, map { $_ // '' } @$_[ 0 .. 5 ]) foreach @kinds;

ok(handled($three, 'd', 't'), 'what was sent has arrived');
is(rows($three, 'd', q{SELECT 1 FROM actorstore.dead_message}), 0, 'all of it');

# The owner is the one who does not know.
in_transaction($three, map { $_ // '' } @$_[ 0 .. 5 ]) foreach grep { $_->[0] =~ /^(put|call|pause of a type|join_group|resume of a type)$/ } @kinds;
my $id = move_on($three, 'two', 'three');
q1("SELECT actorstore.send('t', '$id', 'plus', '1')");
ok(comes_true($three, 'd', "(SELECT value FROM actorstore.get('t', '$id')) = '1'"), 'a message to an owner who does not know that he is');

# Each node that is asked knows more than the one before.
move_on($one, 'two', 'three');
move_on([ $one, $two ], 'two', 'three');
is(epochs() =~ s/(\d+) (\d+) (\d+)/$2 - $1 . ' ' . ($3 - $2)/er, '1 1', 'each knows another epoch');
is(q1(q{SELECT actorstore.pause('held')}), '', 'pause of a type: all come to know the last one');
is(join(' ', map { $_->safe_psql('d', q{SELECT count(*) FROM actorstore.halted WHERE actor_type = 'held'}) } @nodes), '1 1 1', 'pause of a type: done on all');
is(q1(q{SELECT actorstore.resume('held')}), 't', 'resume of a type');

# One statement, of a transaction of its own; and an actor that has come here.
$id = move_on($one, 'two', 'three');
is(q1("SELECT (actorstore.put('t', '$id', '1')).version"), '0', 'a statement alone');
$id = move_on($one, 'two', 'one');
is(q1("SELECT (actorstore.put('t', '$id', '1')).version"), '0', 'an actor that is here now');
is($one->safe_psql('d', "SELECT count(*) FROM actorstore.actor WHERE actor_id = '$id'"), '1', 'is written here');
$id = move_on($one, 'two', 'one');
is(q1("SELECT count(*) FROM actorstore.get_many('t', '{$id}')"), '0', 'one that does not exist does not exist here');

# The snapshot of a transaction does not show what has come here since: that is said.
foreach my $read (q{SELECT (actorstore.get('t', 'ID')).version}, q{SELECT count(*) FROM actorstore.get_many('t', '{ID}')})
{
	q1('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is(q1("SELECT value FROM actorstore.get('t', '$stay[0]')"), $n, 'the transaction has a snapshot');
	my $came = move_on($one, 'two', 'one');
	$three->safe_psql('d', "SELECT actorstore.put('t', '$came', '1')");
	is(q1($read =~ s/ID/$came/r), 'ERROR:  40001', "$read: may have been somewhere else before");
	q1('ROLLBACK');
	is(q1($read =~ s/ID/$came/r), $read =~ /many/ ? '1' : '0', 'the next one sees it');
}
q1('BEGIN ISOLATION LEVEL REPEATABLE READ');
q1("SELECT actorstore.get('t', '$stay[0]')");
$id = move_on($one, 'two', 'three');
is(q1("SELECT (actorstore.put('t', '$id', '1')).version"), '0', 'a new one is written where it belongs by now');
is(q1("SELECT (actorstore.get('t', 'nobody at all')).version"), '', 'what was nowhere else is not there');
is(q1('COMMIT'), '', 'and so it ends');

# The owner cannot fetch it: nobody waits for long, and what was done before is there.
q1(q{CREATE FUNCTION why(sql text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		detail text;
	BEGIN
		EXECUTE sql;
		RETURN 'done';
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
		RETURN SQLSTATE || ' ' || detail;
	END $$});
my $pid = $three->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore resolver'});
$three->safe_psql('d', q{ALTER SYSTEM SET actorstore.peer_timeout = '500ms'});
$three->reload;
$three->poll_query_until('d', q{SELECT current_setting('actorstore.peer_timeout') = '500ms'}) or die;
kill 'STOP', $pid;
$id = move_on($three, 'two', 'three');
my ($mine, $its) = (split / /, epochs())[ 0, 2 ];
q1('BEGIN');
q1("SELECT actorstore.put('t', '$stay[1]', '1000')");
is(q1("SELECT why(\$a\$SELECT actorstore.put('t', '$id', '1')\$a\$)"), "VA007 Epoch $its is in force there, epoch $mine here.", 'the owner does not come to know');
is(q1('COMMIT'), '', 'the transaction goes on');
is($one->safe_psql('d', "SELECT value FROM actorstore.get('t', '$stay[1]')"), '1000', 'and commits');
kill 'CONT', $pid;
is(q1("SELECT (actorstore.put('t', '$id', '1')).version"), '0', 'once it does, it is done');

# Nor can this node.
$pid = $one->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore resolver'});
kill 'STOP', $pid;
$id = move_on($one, 'two', 'three');
($mine) = split / /, epochs();
q1(q{SET actorstore.peer_timeout = '500ms'});
is(q1("SELECT why(\$a\$SELECT actorstore.put('t', '$id', '1')\$a\$)"), "VA007 Epoch $mine is in force here.", 'this one does not come to know');
q1('RESET actorstore.peer_timeout');
kill 'CONT', $pid;
is(q1("SELECT (actorstore.put('t', '$id', '1')).version"), '0', 'once it does, it is done');

$_->quit foreach $session;
$_->stop foreach @nodes;
done_testing();
