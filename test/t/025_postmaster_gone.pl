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

# A record over many pages, of which the last one is not full.  Others may flush it before it is read: then another one.
my $until = time + patience();
my $writer = $node->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});
my $reader = ActorstoreTest::Session->new($node, 'd');
my $pid = $reader->query('SELECT pg_backend_pid()');
my $waits = 0;
$node->safe_psql('d', 'CREATE TABLE begun (wal_position pg_lsn)');
until ($waits || time > $until)
{
	kill 'CONT', $writer;
	$node->safe_psql('d', q{DELETE FROM begun; INSERT INTO begun SELECT pg_current_wal_insert_lsn()});
	$node->safe_psql('d', q{SELECT pg_logical_emit_message(false, 'filler', repeat('x', 300000))});
	comes_true($node, 'd', q{(SELECT wal_position < pg_current_wal_flush_lsn() FROM begun)});
	kill 'STOP', $writer;
	$reader->start(q{SELECT actor_id FROM actorstore.fetch('s')});
	usleep(500_000);
	$waits = $node->safe_psql('d', "SELECT state FROM pg_stat_activity WHERE pid = $pid") eq 'active';
	$reader->finish if !$waits;
}
ok($waits, 'a session waits for the rest of a record');

my $postmaster = $node->{_pid};
kill 'KILL', $postmaster;
$until = time + patience();
while (kill(0, $pid) && time < $until) { usleep(10_000); }
my $ended = !kill 0, $pid;
ok($ended, 'it ends without the postmaster');
eval { $reader->finish };
kill 'KILL', $writer, $ended ? () : $pid;
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
