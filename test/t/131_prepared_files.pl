# What is prepared outlives a checkpoint that was not finished, which has left
# its file: after a crash, in a base backup, on a standby.  PostgreSQL 17 and
# 18 alone lose it (src/cluster/prepared_files.h).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreCluster;
use ActorstoreFaults;
use ActorstoreTest;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('primary', streaming => 1, settings => "max_prepared_transactions = 10\nfsync = on\ncheckpoint_timeout = 1h");
$node->safe_psql('postgres', 'CREATE TABLE t (n int)');
$node->stop;
my $disk = with_disk($node);

# Not with the xid that is the checkpoint's next one, which is found.
sub prepare { my ($gid) = @_; $node->safe_psql('postgres', "SELECT FROM pg_current_xact_id(); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION '$gid'", kept => 0); return; }
sub files { my ($server) = @_; return scalar(my @files = glob $server->data_dir . '/pg_twophase/*'); }
sub prepared { my ($server) = @_; return $server->safe_psql('postgres', q{SELECT string_agg(gid, ' ' ORDER BY gid) FROM pg_prepared_xacts}); }

# A checkpoint of the server writes its files and no more, as the server crashes.
sub crash_beside_a_checkpoint
{
	my ($server, $directory) = @_;
	append_to_file("$directory/hold", 'pg_twophase');
	my $checkpoint = ActorstoreTest::Session->new($server, 'postgres');
	$checkpoint->start('CHECKPOINT');
	wait_for_file("$directory/held");
	$server->stop('immediate');
	eval { $checkpoint->finish };
	unlink "$directory/hold", "$directory/held";
	return;
}

# ---- A crash ----

prepare("crash $_") foreach 1, 2;
crash_beside_a_checkpoint($node, $disk);
is(files($node), 2, 'a crash: they are in files, and in WAL');
with_disk($node);
is(prepared($node), 'crash 1 crash 2', 'a crash: they are prepared');
$node->safe_psql('postgres', q{CHECKPOINT});
is(files($node), 2, 'a checkpoint writes them again');
$node->stop('immediate');
with_disk($node);
is(prepared($node), 'crash 1 crash 2', 'and from there they come after the next crash');
$node->safe_psql('postgres', q{COMMIT PREPARED 'crash 1'}, kept => 0);
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'crash 2'}, kept => 0);
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), '1', 'one is committed, the other undone');
is(files($node), 0, 'nothing is left');

# Two checkpoints ago, and it is in no file: committed before the crash.
prepare('old');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->safe_psql('postgres', q{COMMIT PREPARED 'old'}, kept => 0);
prepare('new');
crash_beside_a_checkpoint($node, $disk);
with_disk($node);
is(prepared($node), 'new', 'one that was in a file before is over, the other is there');
$node->safe_psql('postgres', q{COMMIT PREPARED 'new'}, kept => 0);
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), '3', 'both are committed');

# ---- A base backup in which a later checkpoint has written its files ----

my $session = ActorstoreTest::Session->new($node, 'postgres');
$session->query(q{SELECT pg_backup_start('made', true)});
prepare('backup');
$node->safe_psql('postgres', 'CHECKPOINT');
my $made = $node->backup_dir . '/made';
mkdir $node->backup_dir;
PostgreSQL::Test::RecursiveCopy::copypath($node->data_dir, $made, filterfn => sub { return $_[0] !~ /^(?:postmaster\.pid|pg_wal)$/; });
my $label = $session->query('SELECT labelfile FROM pg_backup_stop()');
$session->quit;
append_to_file("$made/backup_label", "$label\n");
PostgreSQL::Test::RecursiveCopy::copypath($node->data_dir . '/pg_wal', "$made/pg_wal");
my $copy = ActorstoreCluster->new('copy');
$copy->init_from_backup($node, 'made');
is(files($copy), 1, 'a backup: it is in a file, and in WAL');
$copy->start;
is(prepared($copy), 'backup', 'a backup: it is prepared');
$copy->stop;
$node->safe_psql('postgres', q{COMMIT PREPARED 'backup'}, kept => 0);

# ---- A standby ----

$node->backup('copy');
my $standby = ActorstoreCluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
my $other_disk = with_disk($standby);
prepare('standby');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
crash_beside_a_checkpoint($standby, $other_disk);
is(files($standby), 1, 'a standby: it is in a file, and in WAL');
$node->stop('immediate');
with_disk($standby);
$standby->promote;
is(prepared($standby), 'standby', 'a standby: it is prepared after the promotion');
$standby->safe_psql('postgres', q{COMMIT PREPARED 'standby'}, kept => 0);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM t'), '5', 'and can be committed');

$standby->stop;
done_testing();
