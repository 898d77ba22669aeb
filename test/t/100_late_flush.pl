# A batch of messages is handled by the node it has come to before that has flushed
# it (src/cluster/late_flush.h), and answered after: whoever dies in between,
# nothing is lost or done twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my ($one, $two) = new_cluster('one', 'two', { faults => 1, settings => join "\n",
	'actorstore.resolver_interval = 100ms', 'max_worker_processes = 16', 'actorstore.peer_timeout = 60s', 'wal_writer_delay = 10s', 'wal_level = replica', 'max_wal_senders = 2' });
$one->safe_psql('d', q{SELECT actorstore.create_type('t'), actorstore.set_handler('t', 'add', 'public.collect(jsonb, jsonb)')});
my @there = rows($one, 'd', q{SELECT 'a' || i FROM generate_series(1, 100) AS i WHERE actorstore.locate('t', 'a' || i) = 'two'});

sub fault { my ($fault) = @_; $two->safe_psql('postgres', "ALTER SYSTEM SET actorstore.fault = '$fault'"); $two->reload; $two->poll_query_until('postgres', "SELECT current_setting('actorstore.fault') = '$fault'"); return; }
sub send_one { my ($id, $n) = @_; $one->safe_psql('d', "SELECT actorstore.send('t', '$id', 'add', '$n')"); return; }
sub has_value { my ($id, $value) = @_; return "(SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$id') = '$value'"; }
sub comes_to { my ($id, $value, $name) = @_; ok(comes_true($two, 'd', has_value($id, $value)), $name); return; }
sub on_their_way { return $one->safe_psql('d', q{SELECT coalesce(sum(on_their_way), 0) FROM actorstore.stat_outbox}); }
sub none_on_their_way { my ($name) = @_; ok(comes_true($one, 'd', q{(SELECT sum(on_their_way) FROM actorstore.stat_outbox) = 0}), $name); return; }

# Send a message; the process that stores it stops when it has told, before it flushes.
sub stop_with
{
	my ($id, $n) = @_;

	unlink map { $two->data_dir . "/fault.deliver_told.$_" } qw(reached go);
	fault('deliver_told:wait');
	send_one($id, $n);
	reached($two, 'deliver_told');
	fault('');
	return;
}

sub crash
{
	$two->stop('immediate');
	$two->start;
	unlink map { $two->data_dir . "/fault.deliver_told.$_" } qw(reached go);
	return;
}

send_one($there[0], 1);
comes_to($there[0], '[1]', 'a first message');
none_on_their_way('and is answered');

# While who has stored it stands still.
stop_with($there[0], 2);
comes_to($there[0], '[1, 2]', 'handled before it is answered');
is(on_their_way(), 1, 'which it is not yet');
release($two, 'deliver_told');
none_on_their_way('but then');

stop_with($there[0], 3);
comes_to($there[0], '[1, 2, 3]', 'handled once more');
crash();
none_on_their_way('the server dies, and has what was handled');
is($two->safe_psql('d', "SELECT " . has_value($there[0], '[1, 2, 3]')), 't', 'which is not handled again');

# Nobody has flushed it: it may be there after a crash, or come again.
$two->safe_psql('d', q{SELECT actorstore.pause('t')});
stop_with($there[1], 1);
is($two->safe_psql('d', "SELECT count(*) FROM actorstore.message WHERE actor_id = '$there[1]'"), 1, 'it can be seen');
is(on_their_way(), 1, 'and is not answered');
crash();
none_on_their_way('the server dies, and has it in the end');
is($two->safe_psql('d', "SELECT count(*) FROM actorstore.message WHERE actor_id = '$there[1]'"), 1, 'once');

# The connection breaks before the answer, and the server dies after who asks has heard that it is there.
stop_with($there[1], 2);
my $forwarder = $one->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore forwarder'});
$one->safe_psql('d', "SELECT pg_terminate_backend($forwarder)");
ok(comes_true($one, 'd', "EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore forwarder' AND pid <> $forwarder) AND (SELECT connected FROM actorstore.stat_outbox)"),
	'another connection asks');
crash();
is($two->safe_psql('d', "SELECT count(*) FROM actorstore.message WHERE actor_id = '$there[1]'"), 2, 'and it is there after a crash');
send_one($there[1], 3);
ok(comes_true($two, 'd', "(SELECT count(*) FROM actorstore.message WHERE actor_id = '$there[1]') = 3"), 'one more');
$two->safe_psql('d', q{SELECT actorstore.resume('t')});
comes_to($there[1], '[1, 2, 3]', 'all are handled, in their order');

# An answer is durable, whoever flushes.
$two->safe_psql('d', q{SELECT actorstore.pause('t')});
my $forwarded = $one->safe_psql('d', 'SELECT forwarded FROM actorstore.stat_outbox');
send_one($there[2], $_) foreach 1 .. 5;
ok(comes_true($one, 'd', "(SELECT forwarded FROM actorstore.stat_outbox) = $forwarded + 5"), 'five that nobody handles are answered');
crash();
$two->safe_psql('d', q{SELECT actorstore.resume('t')});
comes_to($there[2], '[1, 2, 3, 4, 5]', 'are there after a crash');

# Who asks what is here is answered once the standbys have it, too, also where there is nothing to write.
sub standbys { my ($names) = @_; $two->safe_psql('postgres', "ALTER SYSTEM SET synchronous_standby_names = '$names'"); $two->reload; $two->safe_psql('postgres', 'CHECKPOINT'); return; }	# who makes it tells all of the setting
standbys('nobody');
ok(comes_true($two, 'd', q{current_setting('synchronous_standby_names') = 'nobody'}), 'a standby that there is not');
my $asker = ActorstoreTest::Session->new($two, 'd');
$asker->start('SELECT count(*) FROM actorstore.local_watermarks(gen_random_uuid())');
ok(comes_true($two, 'd', "(SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = $asker->{pid})"), 'is waited for');
standbys('');
is($asker->finish, '0', 'and no more');

done_testing();
