# Who moves actors writes much WAL, and others wait for it as little as can be
# (src/cluster/wal_ahead.h): it is flushed as it grows, the next segment is there
# before it is needed, and what is done while slots are frozen takes no whole pages along.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Nobody else flushes, nor begins a checkpoint.
my @nodes = new_cluster('one', 'two', { faults => 1, settings => join "\n",
	'actorstore.resolver_interval = 100ms', 'actorstore.rebalance_batch = 1024', 'max_worker_processes = 16', 'wal_level = logical',
	'wal_writer_delay = 10s', 'checkpoint_timeout = 1h' });
my ($one, $two) = @nodes;

my $unflushed = q{SELECT pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn()};
my $next_segment = q{(SELECT name FROM pg_ls_waldir() WHERE name = pg_walfile_name(pg_current_wal_insert_lsn() + 16 * 1024 * 1024))};

# All slots are one's, and its pages are as the checkpoint has left them.
$one->safe_psql('d', q{
	SELECT actorstore.set_node_weight('two', 0);
	SELECT actorstore.create_type('thing');
	SELECT actorstore.insert_many('thing', array_agg(i::text), array_agg(jsonb_build_object('i', i, 'rest', md5(i::text) || md5('-' || i))))
	FROM generate_series(1, 20000) AS i});
$_->safe_psql('d', 'CHECKPOINT') foreach @nodes;
is($two->safe_psql('d', "SELECT count(*) FROM $next_segment AS s"), '0', 'there is no segment ahead at two');

# What one does after this point changes nothing for others; then the slots are frozen.
set_at($one, q{actorstore.fault = 'move_copied:wait'});
$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 100)});
$one->safe_psql('d', q{SELECT FROM actorstore.rebalance(false)});
reached($one, 'move_copied');
cmp_ok($_->safe_psql('d', $unflushed), '<', 600_000, $_->name . ': what the copy has written is flushed, but for the last of it') foreach @nodes;
is($two->safe_psql('d', "SELECT count(*) FROM $next_segment AS s"), '1', 'the next segment is there, at two');

my $from = $one->safe_psql('d', 'SELECT pg_current_wal_insert_lsn()');
set_at($one, q{actorstore.fault = ''});
release($one, 'move_copied');
ok(have_moved(@nodes), 'half of the actors move');
my $to = $one->safe_psql('d', 'SELECT pg_current_wal_flush_lsn()');
my $file = $one->safe_psql('d', q{SELECT pg_relation_filepath('actorstore.actor_thing')}) =~ s/.*\///r;
my ($wal) = run_command([ 'pg_waldump', '--path', $one->data_dir . '/pg_wal', '--start', $from, '--end', $to, '--rmgr', 'Heap' ]);
my @deletes = grep { /desc: DELETE/ && /\/$file\b/ } split /\n/, $wal;
is(scalar @deletes, $two->safe_psql('d', 'SELECT count(*) FROM actorstore.actor'), 'each is deleted at one');
is(scalar(grep { /FPW/ } @deletes), 0, 'and no delete takes its page along');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.get_all('thing')}), '20000', 'all are there');

done_testing();
