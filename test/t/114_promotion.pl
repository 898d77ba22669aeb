# Messages between nodes when a standby takes over on either side: one that has
# all, and one that was behind.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# the conninfos are made here
use ActorstoreCluster;
use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', { streaming => 1,
	settings => "actorstore.resolver_interval = 100ms\nactorstore.peer_timeout = 60s\nwal_keep_size = 256MB\nmax_worker_processes = 16" });
my ($one, $two) = @nodes;
$one->safe_psql('d', q{SELECT actorstore.create_type('t', mailbox_limit => 1000000), actorstore.set_handler('t', 'add', 'public.collect(jsonb, jsonb)')});
my $there = $one->safe_psql('d', q{SELECT min('a' || i) FROM generate_series(1, 300) AS i WHERE actorstore.locate('t', 'a' || i) = 'two'});
my $n = 0;

sub send_some { my ($some) = @_; $one->safe_psql('d', join '; ', map { $n++; "SELECT actorstore.send('t', '$there', 'add', '$n')" } 1 .. $some); return; }
sub all_is_there
{
	my ($name) = @_;
	my $actor = "SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$there'";
	ok(comes_true($two, 'd', "coalesce((SELECT jsonb_array_length(($actor))), 0) >= $n"), "$name: all arrives");
	is($two->safe_psql('d', $actor), '[' . join(', ', 1 .. $n) . ']', "$name: once, and in order");
	return;
}
sub batches { return $two->safe_psql('d', q{SELECT string_agg(batch::text, ' ' ORDER BY incarnation) FROM actorstore.inbox}); }

# A standby, which others find by a conninfo with both hosts.
sub standby_of
{
	my ($node, $name) = @_;
	$node->backup("for_$name");
	my $standby = ActorstoreCluster->new($name);
	$standby->init_from_backup($node, "for_$name", has_streaming => 1);
	$standby->append_conf('postgresql.conf', 'port = ' . $standby->port);
	$standby->start;
	$node->wait_for_catchup($standby);
	my $both = sprintf 'host=%s,%s port=%d,%d dbname=d', $node->host, $standby->host, $node->port, $standby->port;
	$_->safe_psql('d', "UPDATE actorstore.node SET conninfo = '$both' WHERE conninfo = \$\$" . $node->connstr('d') . '$$') foreach $one, $two;
	return $standby;
}
sub follow_no_more
{
	my ($standby) = @_;
	$standby->safe_psql('postgres', q{ALTER SYSTEM SET primary_conninfo = ''});
	$standby->reload;
	ok(comes_true($standby, 'd', q{NOT EXISTS (SELECT FROM pg_stat_wal_receiver)}), $standby->name . ' follows no more');
	return;
}

# ---- The receiver's standby takes over, and was behind: what it lacks is sent again (67) ----

my $second = standby_of($two, 'second');
send_some(10);
all_is_there('before');
$two->wait_for_catchup($second);
follow_no_more($second);
# each in a batch of its own, so that there are some whose numbers have more digits
foreach (1 .. 12)
{
	send_some(1);
	comes_true($two, 'd', "(SELECT jsonb_array_length(value) FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$there') >= $n");
}
cmp_ok(batches(), '>', 12, 'more than twelve batches');
send_some(20);
all_is_there('what the standby does not have');
my $acknowledged = batches();
$two->stop('immediate');
cmp_ok($second->safe_psql('d', q{SELECT max(batch) FROM actorstore.inbox}), '<', $acknowledged, 'the standby has fewer batches than were acknowledged');
$second->promote;
$two = $second;
all_is_there('the receiver is another server: what it had acknowledged');
is(batches(), $acknowledged, 'by the numbers that they had');
send_some(5);
all_is_there('and what comes now');
is($one->safe_psql('d', q{SELECT repeated > 0 FROM actorstore.stat_outbox}), 't', 'as is counted');

# ---- The sender's standby takes over: numbers begin anew (66) ----

my $first = standby_of($one, 'first');
$one->safe_psql('d', q{ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'});
$one->reload;
ok(comes_true($one, 'd', q{(SELECT sync_state = 'quorum' FROM pg_stat_replication)}), 'COMMIT waits for a standby');
$two->safe_psql('d', qq{SELECT actorstore.pause('t', '$there')});
send_some(10);
$one->stop('immediate');
my $before = batches();
$first->promote;
$first->safe_psql('d', q{ALTER SYSTEM SET synchronous_standby_names = ''});
$first->reload;
$one = $first;
send_some(10);
$two->safe_psql('d', qq{SELECT actorstore.resume('t', '$there')});
all_is_there('the sender is another server: what the old one had sent, and the new one');
like(batches(), qr/^$before \d+$|^\d+ \d+$/, 'by numbers of another incarnation');

# And once more, to one that was behind, while what the old one has sent last still waits there.
my $third = standby_of($one, 'third');
follow_no_more($third);
$two->safe_psql('d', qq{SELECT actorstore.pause('t', '$there')});
send_some(10);
ok(comes_true($two, 'd', q{(SELECT count(*) FROM actorstore.message WHERE actor_type = 't') = 10}), 'they wait there');
$one->stop('immediate');
$third->promote;
$one = $third;
send_some(10);
ok(comes_true($two, 'd', q{(SELECT count(*) FROM actorstore.message WHERE actor_type = 't') = 20}), 'those of the new one, too');
$two->safe_psql('d', qq{SELECT actorstore.resume('t', '$there')});
all_is_there('a sender that was behind');
is($two->safe_psql('d', q{SELECT count(*) FROM actorstore.dead_message}), 0, 'nothing has died');

$_->stop foreach $one, $two;
done_testing();
