# A session that reads events waits for the rest of a record of which the WAL's
# writer has written the beginning.  It must not wait on where the postmaster has been killed,
# and nobody will write it any more: its server could not be started again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('main', streaming => 'logical', plugins => 'actorstore', settings => "wal_writer_delay = 5s\nactorstore.workers = 1");
new_database_with_actors($node, 'd');
$node->safe_psql('d', $_) foreach q{SELECT actorstore.create_type('t')}, q{SELECT actorstore.subscribe('s')}, q{SELECT actorstore.put('t', 'a', '1')};

# A record over many pages, of which the last one is not full.
my $writer = $node->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});
my $begun = q{(SELECT wal_position < pg_current_wal_flush_lsn() AND pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn() FROM begun)};
$node->safe_psql('d', q{CREATE TABLE begun AS SELECT pg_current_wal_insert_lsn() AS wal_position});
$node->safe_psql('d', q{SELECT pg_logical_emit_message(false, 'filler', repeat('x', 300000))});
ok(comes_true($node, 'd', $begun), 'the beginning of a record is written');
kill 'STOP', $writer;
is($node->safe_psql('d', "SELECT $begun"), 't', 'and no more');

my $reader = ActorstoreTest::Session->new($node, 'd');
my $pid = $reader->query('SELECT pg_backend_pid()');
$reader->start(q{SELECT actor_id FROM actorstore.fetch('s')});
usleep(500_000);
is($node->safe_psql('d', "SELECT state FROM pg_stat_activity WHERE pid = $pid"), 'active', 'a session waits for the rest');

my $postmaster = $node->{_pid};
kill 'KILL', $postmaster;
my $until = time + patience();
while (kill(0, $pid) && time < $until) { usleep(10_000); }
ok(!kill(0, $pid), 'it ends without the postmaster');
eval { $reader->finish };
kill 'KILL', $pid, $writer;
while (kill(0, $writer) && time < $until) { usleep(10_000); }

$node->{_pid} = undef;
my $started = 0;
until ($started || time > $until)
{
	usleep(100_000);
	$node->{_pid} = undef;
	$started = $node->start(fail_ok => 1);
}
is($node->safe_psql('d', q{SELECT actor_id FROM actorstore.fetch('s')}), 'a', 'the event is there when the server is');
$node->stop;
done_testing();
