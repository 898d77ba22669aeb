# What one sender sends to an actor of another node arrives in the order of the
# sends, however its transactions end, and while others send.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', { faults => 1, settings => "actorstore.resolver_interval = 100ms\nmax_worker_processes = 16" });
my ($one, $two) = @nodes;

$_->safe_psql('d', q{
	CREATE TABLE log (n bigint GENERATED ALWAYS AS IDENTITY, actor_id text, sender text, body int);
	CREATE FUNCTION note(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO log (actor_id, sender, body) SELECT actor_id, body ->> 0, (body ->> 1)::int FROM actorstore.context();
		RETURN NULL;
	END $$;
	CREATE FUNCTION relay(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM actorstore.send('sink', body ->> 'to', 'note', jsonb_build_array('r', coalesce(state, '0')::int + 1));
		RETURN coalesce(state, '0')::int + 1;
	END $$}) foreach @nodes;
$one->safe_psql('d', q{
	SELECT actorstore.create_type('sink'), actorstore.create_type('thing'), actorstore.set_handler('sink', 'note', 'note(jsonb, jsonb)'),
		actorstore.create_type('relay'), actorstore.set_handler('relay', 'relay', 'relay(jsonb, jsonb)')});

# Actors of a type by the node that they live on.
sub ids { my ($type, $node) = @_; return rows($one, 'd', "SELECT id FROM (SELECT 'a' || i AS id FROM generate_series(1, 300) AS i) AS x WHERE actorstore.locate('$type', id) = '$node'"); }
my @sinks = ids('sink', 'two');
my @sinks_here = ids('sink', 'one');

sub send_note { my ($to, $sender, $n) = @_; return "SELECT actorstore.send('sink', '$to', 'note', '[\"$sender\", $n]') > 0"; }

# What an actor has been sent, in the order in which it was handled, once so many have come.
sub came
{
	my ($node, $id, $n) = @_;
	comes_true($node, 'd', "(SELECT count(*) >= $n FROM log WHERE actor_id = '$id')");
	return $node->safe_psql('d', "SELECT string_agg(sender || body, ' ' ORDER BY n) FROM log WHERE actor_id = '$id'");
}
sub remove_faults { unlink glob($_->data_dir . '/fault.*') foreach @nodes; return; }

my @sessions = map { ActorstoreTest::Session->new($one, 'd') } 1 .. 3;
my ($a, $b, $c) = @sessions;

# ---- Prepared transactions ----

# The forwarder is at work, and has nothing to do.
$a->query(send_note($sinks[0], 'a', 0));
is(came($two, $sinks[0], 1), 'a0', 'one by itself');
foreach my $i (1 .. 10)
{
	$a->query('BEGIN');
	$a->query(send_note($sinks[0], 'a', 2 * $i - 1));
	$a->query(q{PREPARE TRANSACTION 'p'});
	$a->query(q{COMMIT PREPARED 'p'});
	$a->query(send_note($sinks[0], 'a', 2 * $i));
}
is(came($two, $sinks[0], 21), join(' ', map { "a$_" } 0 .. 20), 'what was prepared comes before what was sent after it');

# It is committed and nobody has been told, when its sender's next one is sent.
sub prepare_and_stop
{
	my ($id, $fault) = @_;
	$a->query('BEGIN');
	$a->query(send_note($id, 'a', 1));
	$a->query(q{PREPARE TRANSACTION 'p'});
	$a->query("SET actorstore.fault = '$fault'");
	$a->start(q{COMMIT PREPARED 'p'});
	reached($one, 'commit_prepared');
	$b->query(send_note($id, 'a', 2));
	return;
}
prepare_and_stop($sinks[1], 'commit_prepared:wait');
is(came($two, $sinks[1], 2), 'a1 a2', 'not even while nobody has been told');
release($one, 'commit_prepared');
is($a->finish, '', 'then they are');

# Whoever is to tell is terminated before he has.
prepare_and_stop($sinks[2], 'commit_prepared:wait');
$b->query("SELECT pg_terminate_backend($a->{pid})");
$a->finish;
remove_faults();
$b->query(send_note($sinks[2], 'a', 3));
is(came($two, $sinks[2], 3), 'a1 a2 a3', 'nor if he is terminated');
$a = $sessions[0] = ActorstoreTest::Session->new($one, 'd');

# The same for messages to an actor of this node.
prepare_and_stop($sinks_here[0], 'commit_prepared:wait');
$b->query("SELECT pg_terminate_backend($a->{pid})");
$a->finish;
remove_faults();
is(came($one, $sinks_here[0], 2), 'a1 a2', 'nor on this node');
$a = $sessions[0] = ActorstoreTest::Session->new($one, 'd');

# After a crash nothing is known of what is prepared.
$a->query('BEGIN');
$a->query(send_note($sinks[3], 'a', 1));
$a->query(q{PREPARE TRANSACTION 'p'});
$_->quit foreach @sessions;
$one->stop('immediate');
$one->start;
@sessions = map { ActorstoreTest::Session->new($one, 'd') } 1 .. 3;
($a, $b, $c) = @sessions;
$a->query(send_note($sinks[4], 'a', 0));
is(came($two, $sinks[4], 1), 'a0', 'the forwarder is at work again');
$a->query(q{COMMIT PREPARED 'p'});
$a->query(send_note($sinks[3], 'a', 2));
is(came($two, $sinks[3], 2), 'a1 a2', 'prepared before a crash');

# An id that is used again says nothing of the transaction before.
$a->query('BEGIN');
$a->query(q{INSERT INTO log (actor_id) VALUES ('none')});
$a->query(q{PREPARE TRANSACTION 'p'});
$a->query(q{COMMIT PREPARED 'p'});
$a->query('BEGIN');
$a->query(send_note($sinks[3], 'a', 3));
$a->query(q{PREPARE TRANSACTION 'p'});
$a->query(q{COMMIT PREPARED 'p'});
$a->query(send_note($sinks[3], 'a', 4));
is(came($two, $sinks[3], 4), 'a1 a2 a3 a4', 'an id that is used again');

# ---- Transactions that are not told yet ----

# b's message lies between two of a's; a has committed and not told, b tells.
$a->query('BEGIN');
$b->query('BEGIN');
$a->query(send_note($sinks[5], 'a', 1));
$b->query(send_note($sinks[5], 'b', 1));
$a->query(send_note($sinks[5], 'a', 2));
$a->query(q{SET LOCAL actorstore.fault = 'outbox_committed:wait'});
$a->start('COMMIT');
reached($one, 'outbox_committed');
$b->query('COMMIT');
is(came($two, $sinks[5], 3), 'a1 b1 a2', 'messages of one transaction, while another one has told of one between them');
release($one, 'outbox_committed');
$a->finish;

# ---- How many are on their way ----

# Messages that were prepared are counted out when they have come, and no others.
ok(comes_true($one, 'd', q{(SELECT sum(on_their_way) FROM actorstore.stat_outbox) = 0}), 'nothing is on its way');
foreach my $i (1 .. 3)
{
	$a->query('BEGIN');
	$a->query("SELECT count(actorstore.send('sink', '$sinks[6]', 'note', to_jsonb(ARRAY['a', (20 * $i + i)::text]))) FROM generate_series(1, 20) AS i");
	$a->query(q{PREPARE TRANSACTION 'p'});
	$a->query(q{COMMIT PREPARED 'p'});
}
came($two, $sinks[6], 60);
ok(comes_true($one, 'd', 'NOT EXISTS (SELECT FROM actorstore.outbox)'), 'all have left');
$one->safe_psql('d', q{ALTER SYSTEM SET actorstore.outbox_limit = 30});
$one->reload;
$one->poll_query_until('d', q{SELECT current_setting('actorstore.outbox_limit') = '30'});
$two->stop('immediate');
$b->query(send_note($sinks[7], 'b', $_)) foreach 1 .. 30;
is($b->query(send_note($sinks[7], 'b', 31)), 'ERROR:  VA001', 'as many may be on their way as before');
$two->start;
is(came($two, $sinks[7], 30), join(' ', map { "b$_" } 1 .. 30), 'they arrive');
$one->safe_psql('d', q{ALTER SYSTEM RESET actorstore.outbox_limit});
$one->reload;
$_->quit foreach @sessions;

# ---- Storm ----

# Senders number what they send to an actor: by itself, two in a transaction, in
# one that is prepared.  An actor of the other node does the same, in turns of its
# own and in its part of transactions over both nodes.
my ($senders, $rounds) = (4, 40);
my @there = ids('relay', 'two');
sub quoted { return join ', ', map { "'$_'" } @_; }
$one->safe_psql('d', sprintf(q{CREATE FUNCTION id_of(which text, i int) RETURNS text LANGUAGE sql RETURN CASE which
	WHEN 'sink' THEN (ARRAY[%s])[i + 1] WHEN 'relay' THEN (ARRAY[%s])[i + 1] WHEN 'home' THEN (ARRAY[%s])[i + 1] END},
		quoted(@sinks[10 .. 9 + $senders]), quoted(@there[0 .. $senders - 1]), quoted(@sinks_here[10 .. 9 + $senders])));
my $send = q{\set n :n + 1
SELECT actorstore.send('sink', id_of('sink', :client_id), 'note', jsonb_build_array('s', :n));
};
my $relayed = q{'relay', id_of('relay', :client_id), 'relay', jsonb_build_object('to', id_of('home', :client_id))};
my $script = $one->basedir . '/order';
append_to_file($script, qq{$send
BEGIN;
${send}SELECT actorstore.put('thing', :client_id::text, '1');
${send}COMMIT;
BEGIN;
${send}PREPARE TRANSACTION 's:client_id';
COMMIT PREPARED 's:client_id';
${send}BEGIN;
SELECT actorstore.put('thing', :client_id::text, '2');
SELECT actorstore.call($relayed);
COMMIT;
SELECT actorstore.send($relayed);
});
IPC::Run::run([ 'pgbench', '-n', '-c', $senders, '-j', 2, '-t', $rounds, '-D', 'n=0', '-f', $script, $one->connstr('d') ], '<', \undef, '>', \my $out, '2>', \my $err);
like($out, qr/actually processed: @{[ $senders * $rounds ]}\//, 'senders are through') or diag $err;
foreach my $node ($one, $two)
{
	my ($each, $actors, $what) = $node == $two ? (5 * $rounds, quoted(@sinks[10 .. 9 + $senders]), 'sent by clients') :
	  (2 * $rounds, quoted(@sinks_here[10 .. 9 + $senders]), 'sent by actors');
	ok(comes_true($node, 'd', "(SELECT count(*) FROM log WHERE actor_id IN ($actors)) = " . $each * $senders), "$what: all have come");
	is($node->safe_psql('d', qq{SELECT count(*) FILTER (WHERE body <> place), count(DISTINCT actor_id), max(body)
		FROM (SELECT actor_id, body, row_number() OVER (PARTITION BY actor_id ORDER BY n) AS place FROM log WHERE actor_id IN ($actors)) AS x}),
		"0|$senders|$each", 'in their order');
}

$_->stop foreach @nodes;
done_testing();
