# What doctor() says of a server that lacks what it needs, as far as no other test has it; and what it counts.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# Items that are not well; the tests' servers never have fsync.
sub ill { my ($node) = @_; return $node->safe_psql('d', q{SELECT coalesce(string_agg(item, ', '), 'nothing') FROM actorstore.doctor() WHERE NOT ok AND item <> 'crash safety'}); }
sub logged
{
	my ($which, $from, $pattern, $name) = @_;
	my $until = time + patience();

	until (slurp_file($which->logfile, $from) =~ $pattern)
	{
		last if time > $until;
		usleep(50_000);
	}
	like(slurp_file($which->logfile, $from), $pattern, $name);
	return;
}
sub says { my ($node, $item) = @_; return $node->safe_psql('d', "SELECT concat_ws('|', ok, detail) FROM actorstore.doctor() WHERE item = '$item'"); }

my $node = new_node('doctor', plugins => 'actorstore', settings => "wal_level = replica\nmax_worker_processes = 1\nmax_slot_wal_keep_size = '1GB'");
sub sql { return $node->safe_psql('d', $_[0], kept => 1); }

# ---- A server that lacks what it needs ----

# PostgreSQL's own launcher has the only place for a process.
new_database_with_actors($node, 'd');
is(ill($node), 'wal_level, keeper launcher, launcher', 'neither logical decoding nor processes');
is(sql(q{SELECT bool_and((hint IS NULL) = ok) FROM actorstore.doctor()}), 't', 'a hint stands by what is wrong, and only there');
$node->append_conf('postgresql.conf', "max_worker_processes = 2");
$node->restart;

# It is started when the server has begun to answer.
my $limit = time + patience();
usleep(50_000) until ill($node) eq 'wal_level, launcher' || time > $limit;
is(ill($node), 'wal_level, launcher', 'one more process');
$node->append_conf('postgresql.conf', "max_worker_processes = 4\nactorstore.workers = 2");
my $offset = -s $node->logfile;
$node->restart;
ok(comes_true($node, 'd', q{EXISTS (SELECT FROM actorstore.doctor() WHERE item = 'workers' AND NOT ok AND detail = '1 of 2 run')}), 'room for one worker of two');
logged($node, $offset, qr/LOG:  no background worker is free to handle messages\n.*HINT:  Consider increasing .*"max_worker_processes"/m, 'which the log says, too');
$node->append_conf('postgresql.conf', "shared_preload_libraries = '\$libdir/actorstore'\nmax_worker_processes = 80\nactorstore.workers = 0\nwal_level = logical\nactorstore.arena_size = '3MB'\nactorstore.message_pool_size = 20000");
$node->restart;
ok(comes_true($node, 'd', q{EXISTS (SELECT FROM actorstore.doctor() WHERE item = 'workers' AND ok)}), 'room for all');
is(ill($node), 'nothing', 'what it needs');

# ---- What it counts ----

chomp(my $cores = `getconf _NPROCESSORS_ONLN`);
$cores = 64 if $cores > 64;
is(sql('SHOW actorstore.workers'), 0, 'nobody has said how many workers');
ok(comes_true($node, 'd', "(SELECT count(pid) = $cores AND count(*) = $cores FROM actorstore.stat_workers)"), "there is one a core: $cores");
is(says($node, 'launcher'), "t|1 running, which shares $cores workers among the databases", 'which is said');
is(sql(q{SELECT string_agg(name, ', ' ORDER BY name) FROM pg_shmem_allocations WHERE name IN ('actorstore arena', 'actorstore requests', 'actorstore slots') AND size >=
		CASE name WHEN 'actorstore arena' THEN 3 * 1024 * 1024 WHEN 'actorstore requests' THEN 20000 * 64 ELSE 65536 * 128 END}),
	'actorstore arena, actorstore requests, actorstore slots', 'shared memory of the sizes that were set stands under its names');

# What looks after subscriptions is started again.
my $of_keeper = q{backend_type = 'actorstore keeper launcher'};
my $keeper = sql("SELECT pid FROM pg_stat_activity WHERE $of_keeper");
sql("SELECT pg_terminate_backend($keeper)");
ok(comes_true($node, 'd', "EXISTS (SELECT FROM pg_stat_activity WHERE $of_keeper AND pid <> $keeper)"), 'a keeper launcher that ends is followed by another one');

# ---- A slot of nobody ----

# Nobody looks after slots where the library is not preloaded.
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
is(ill($node), 'shared_preload_libraries', 'not preloaded');
sql(q{SELECT pg_create_logical_replication_slot(format('actorstore_%s_1', oid), 'actorstore') FROM pg_database WHERE datname = 'd'});
is(ill($node), 'shared_preload_libraries, orphaned slots', 'a slot without a subscription');
is(says($node, 'orphaned slots'), 'f|1 belong to no subscription', 'which is said');
sql(q{SELECT actorstore.subscribe('s')});
is(ill($node), 'shared_preload_libraries', 'who subscribes drops it');
$node->stop;

# ---- The first messages to a node ever ----

# They have left the outbox, and the node dies before it has answered.
my ($one, $two) = new_cluster('one', 'two', { settings => 'max_worker_processes = 16' });
$one->safe_psql('d', q{SELECT actorstore.create_type('t'), actorstore.set_handler('t', 'm', 'collect(jsonb, jsonb)')});
my $there = $one->safe_psql('d', q{SELECT min(i) FROM generate_series(1, 100) AS i WHERE actorstore.locate('t', i::text) = 'two'});
$offset = -s $one->logfile;
my $locker = ActorstoreTest::Session->new($two, 'd');
$locker->query($_) foreach 'BEGIN', 'LOCK TABLE actorstore.message';
$one->safe_psql('d', "SELECT actorstore.send('t', '$there', 'm', '1')");
ok(comes_true($one, 'd', 'EXISTS (SELECT FROM actorstore.outbox_batch) AND NOT EXISTS (SELECT FROM actorstore.outbox)'), 'a message has left');
$two->stop('immediate');
ok(comes_true($one, 'd', 'NOT (SELECT connected FROM actorstore.stat_outbox)'), 'and is not answered');
logged($one, $offset, qr/LOG:  the resolver does not reach node "two": .+$/m, 'nor is the resolver');
is(says($one, 'outbox'), '', 'not for long');
$one->safe_psql('d', q{UPDATE actorstore.outbox_batch SET made_at = made_at - interval '2 minutes'});
is(says($one, 'outbox'), 'f|messages to node two have been on their way for more than a minute', 'for long');

# What it has is not known any more after a restart, before it is asked.
$one->restart;
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM actorstore.doctor() WHERE item = 'outbox')}), 'not forgotten by a restart');
is(says($one, 'outbox'), 'f|node two has not been asked since this server started whether it has messages that left more than a minute ago', 'as far as can be known');
$two->start;
ok(comes_true($two, 'd', "(SELECT value = '[1]' FROM actorstore.get('t', '$there'))"), 'the node is back: it arrives');
ok(comes_true($one, 'd', q{NOT EXISTS (SELECT FROM actorstore.doctor() WHERE item = 'outbox')}), 'and that is over, though batches are kept for a while');
is($one->safe_psql('d', q{SELECT count(*) > 0 FROM actorstore.outbox_batch WHERE made_at < clock_timestamp() - interval '1 minute'}), 't', 'as this one is');

# It says the same, and no more, where a backslash is one.
set_at($one, "synchronous_standby_names = 'ANY 1 (nobody)'");
my $all = q{SELECT item, ok, hint FROM actorstore.doctor()};
$one->psql('d', $all, stdout => \my $usual);
$one->psql('d', "SET escape_string_warning = on; SET backslash_quote = off; SET standard_conforming_strings = off; $all", stdout => \my $odd, stderr => \my $warnings);
is($odd, $usual, 'where strings are not standard');
is($warnings, '', 'without a warning');
like($usual, qr/^synchronous standbys\|f/m, 'it has counted standbys');
set_at($one, "synchronous_standby_names = ''");
$_->stop foreach $one, $two;
done_testing();
