# What makes a database a node, and what keeps it one: several sessions that
# start it at once, sessions that have looked before, a standby that is
# promoted, a dump that is restored elsewhere.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreCluster;
use ActorstoreTest;
use Test::More;

my $primary = new_node('primary', streaming => 1);
new_database($primary, 'd');

# Several at once: one of them does it, the others are told.
my @sessions = map { ActorstoreTest::Session->new($primary, 'd') } 1 .. 4;
is($_->query(q{SELECT actorstore.locate('cart', 'a')}), 'ERROR:  55000', 'no node yet') foreach @sessions;
my $first = shift @sessions;
$first->query('BEGIN');
is($first->query(q{SELECT actorstore.init_node('first')}), '', 'one session makes it a node');
$sessions[$_]->start("SELECT actorstore.init_node('other $_')") foreach 0 .. 2;
ok($primary->poll_query_until('d', q{SELECT count(*) = 3 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}), 'three others wait');
$first->query('COMMIT');
is($_->finish, 'ERROR:  55000', 'and are refused') foreach @sessions;

# They know by now, as do those that never asked.
is($_->query(q{SELECT actorstore.locate('cart', 'a'), actorstore.replicas('cart', 'a', 2)}), 'first|{first}', 'each session sees the node')
  foreach ($first, @sessions);
is($primary->safe_psql('d', 'SELECT count(*), count(DISTINCT node_name) FROM actorstore.placement'), '4096|1', 'which owns all slots');

# The other way round: who waits for one that gives up does it himself.
new_database($primary, 'undone');
my ($gives_up, $waits) = map { ActorstoreTest::Session->new($primary, 'undone') } 1 .. 2;
$gives_up->query('BEGIN');
$gives_up->query(q{SELECT actorstore.init_node('undone')});
$waits->start(q{SELECT actorstore.init_node('done')});
ok($primary->poll_query_until('undone', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}), 'another one waits');
$gives_up->query('ROLLBACK');
is($waits->finish, '', 'and does it');
is($gives_up->query(q{SELECT actorstore.locate('cart', 'a')}), 'done', 'the first one sees it');

# A change of the map reaches those who have looked before.
$first->query(q{UPDATE actorstore.node SET node_name = 'renamed'});
is($_->query(q{SELECT actorstore.locate('cart', 'a')}), 'renamed', 'a change is seen by each session') foreach ($first, @sessions);
$first->query(q{UPDATE actorstore.node SET node_name = 'first'});

# A standby is the same node, and stays it.
$primary->backup('copy');
my $standby = ActorstoreCluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);
my $there = ActorstoreTest::Session->new($standby, 'd');
is($there->query(q{SELECT actorstore.locate('cart', 'a')}), 'first', 'locate on a standby');
is($there->query(q{SELECT actorstore.init_node('standby')}), 'ERROR:  25006', 'which is not made a node');
my $uuid = $primary->safe_psql('d', 'SELECT node_uuid FROM actorstore.node');

# A dump has neither nodes nor maps.
my $dump = $primary->basedir . '/dump';
$primary->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'd' ], 'pg_dump');
$primary->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$primary->command_ok([ 'pg_restore', '-d', 'restored', $dump ], 'pg_restore');
is($primary->safe_psql('restored', 'SELECT (SELECT count(*) FROM actorstore.node), (SELECT count(*) FROM actorstore.epoch)'), '0|0', 'what was restored is no node');
is(sqlstate($primary, 'restored', q{SELECT actorstore.locate('cart', 'a')}), '55000', 'and says so');

$primary->stop('immediate');
$standby->promote;
is($there->query(q{SELECT actorstore.locate('cart', 'a')}), 'first', 'a session that has seen the promotion');
is($standby->safe_psql('d', q{SELECT actorstore.locate('cart', 'a')}), 'first', 'the promoted standby is the node');
is($standby->safe_psql('d', 'SELECT node_uuid FROM actorstore.node'), $uuid, 'the same one');
is(sqlstate($standby, 'd', q{SELECT actorstore.init_node('again')}), '55000', 'and is not made one again');
$standby->stop;
done_testing();
