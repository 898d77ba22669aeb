# Subscriptions that go on when another server takes over: since PostgreSQL 17
# standbys can keep their slots.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $first = new_node('first', streaming => 'logical', plugins => 'actorstore', settings => "actorstore.cdc_retention = 1h\nhot_standby_feedback = on");
if ($first->safe_psql('postgres', q{SELECT current_setting('server_version_num')::int < 170000}) eq 't')
{
	$first->stop;
	plan skip_all => 'slots follow to standbys since PostgreSQL 17';
}
new_database($first, 'd');
$first->safe_psql('d', q{SELECT actorstore.create_type('t'); SELECT actorstore.put('t', 'a', '0')});
$first->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('standby')});
$first->backup('copy');
my $second = PostgreSQL::Test::Cluster->new('second');
$second->init_from_backup($first, 'copy', has_streaming => 1);
$second->append_conf('postgresql.conf', 'port = ' . $second->port);

# The server follows the other one, and with it the slots.
sub follow
{
	my ($node, $primary) = @_;
	$node->append_conf('postgresql.conf', sprintf "primary_conninfo = '%s dbname=postgres'\nprimary_slot_name = 'standby'\nsync_replication_slots = on\nrecovery_target_timeline = 'latest'",
		$primary->connstr);
	$node->start;
	return;
}

sub put { my ($node, $value) = @_; $node->safe_psql('d', "SELECT actorstore.put('t', 'a', '$value')"); return; }
sub events { my ($node) = @_; return $node->safe_psql('d', q{SELECT string_agg(new_value::text, ' ' ORDER BY sequence) FROM actorstore.fetch('s')}); }
sub state { my ($node) = @_; return $node->safe_psql('d', q{SELECT state FROM actorstore.stat_subscriptions WHERE subscription = 's'}); }
sub synchronized { my ($node) = @_; return $node->safe_psql('d', q{SELECT ok, detail, hint IS NULL FROM actorstore.doctor() WHERE item = 'synchronized slots'}); }

# A slot is taken over once it has moved on from where it was when the standby first saw it.
sub comes
{
	my ($primary, $standby, $value) = @_;
	for (1 .. patience())
	{
		return 1 if synchronized($standby) eq 't|of 1 subscriptions 1 would go on here|t';
		put($primary, ++$$value);
		$primary->safe_psql('d', q{SELECT actorstore.ack('s', (SELECT max(sequence) FROM actorstore.fetch('s')))});
		$primary->safe_psql('d', q{SELECT pg_log_standby_snapshot()});
		$primary->safe_psql('d', q{SELECT count(*) FROM actorstore.fetch('s')});
		$standby->poll_query_until('postgres', q{SELECT pg_last_wal_replay_lsn() >= '} . $primary->lsn('flush') . q{'});
		sleep 1;
	}
	return 0;
}

$first->safe_psql('d', q{SELECT actorstore.subscribe('s', 'now')});
is($first->safe_psql('d', q{SELECT bool_and(failover AND NOT temporary), count(*) FROM pg_replication_slots AS r JOIN actorstore.subscription AS s ON s.slot = r.slot_name}), 't|1',
	'the slot of a subscription may follow');
ok($first->poll_query_until('d', q{SELECT bool_and(failover) AND count(*) = 1 FROM pg_replication_slots WHERE slot_name LIKE 'actorstore%\_keeper'}), 'and so may what is kept of the past');
is(synchronized($first), '', 'a primary is not asked for slots of others');

# A standby that was not told to keep them.
$second->start;
$first->wait_for_catchup($second);
is(synchronized($second), 'f|of 1 subscriptions 0 would go on here|f', 'doctor() on a standby without them');
$second->stop;

follow($second, $first);
my $value = 0;
ok(comes($first, $second, \$value), 'the slot comes to the standby');

# What has been acknowledged does not come again; what has not, does, and what was written next.
put($first, 'true');
put($first, 'false');
is(events($first), 'true false', 'events');
$first->safe_psql('d', q{SELECT actorstore.ack('s', (SELECT min(sequence) FROM actorstore.fetch('s')))});
is(events($first), 'false', 'one of them is acknowledged');
$first->wait_for_catchup($second);
$first->stop;
$second->promote;
put($second, '"later"');
is(state($second), 'streaming', 'the subscription streams from the new primary');
is(events($second), 'false "later"', 'and loses nothing, and repeats nothing');
$second->safe_psql('d', q{SELECT actorstore.ack('s', (SELECT max(sequence) FROM actorstore.fetch('s')))});
is($second->safe_psql('d', q{SELECT ok FROM actorstore.doctor() WHERE item = 'lost subscriptions'}), 't', 'as doctor() says');

# The first one has a slot of that name, which is in the way.
$second->safe_psql('postgres', q{SELECT slot_name FROM pg_create_physical_replication_slot('standby')});
append_to_file($first->data_dir . '/standby.signal', '');
follow($first, $second);
$second->wait_for_catchup($first);
like(synchronized($first), qr/^f\|of 1 subscriptions 0 would/, 'doctor() on what was the primary');
$first->safe_psql('d', q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT synced});
ok(comes($second, $first, \$value), 'once that is dropped, the slot comes');

# Readers wait for the standby that they are told to wait for.
$second->append_conf('postgresql.conf', "synchronized_standby_slots = 'standby'");
$second->reload;
$first->stop;
put($second, '"written"');
my ($status, $stdout, $stderr) = $second->psql('d', q{SET statement_timeout = '1s'; SELECT actorstore.fetch('s')});
like($stderr, qr/statement timeout/, 'fetch waits for a standby');
$first->start;
is(events($second), '"written"', 'till that has what is read');

$_->stop foreach $first, $second;
done_testing();
