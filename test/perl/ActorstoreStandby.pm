# A node with a synchronous standby that takes over.  Both are reached at one address, a socket in a directory that
# is a link to that of whichever server is the primary, as with an address that moves: conninfos stay as they are.

package ActorstoreStandby;

use strict;
use warnings;

use ActorstoreCluster;
use ActorstoreTest;
use Exporter 'import';
use File::Path qw(rmtree);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(move_to_address make_standby take_over);

# What is of a server, and not of the node.
my @of_server = qw(_pid _basedir _logfile _logfile_base _logfile_generation sockets disk clock);

sub sockets { my ($server) = @_; return "unix_socket_directories = '$server->{sockets}'"; }

# A node that is not running listens at an address of its own from now on.
sub move_to_address
{
	my ($node) = @_;
	my $address = PostgreSQL::Test::Utils::tempdir_short() . '/primary';

	$node->{sockets} = PostgreSQL::Test::Utils::tempdir_short();
	$node->append_conf('postgresql.conf', sockets($node));
	$node->{_host} = $address;
	point_to($node);
	return;
}

sub point_to
{
	my ($node) = @_;

	symlink $node->{sockets}, "$node->{_host}.new" or die "$node->{_host}: $!";
	rename "$node->{_host}.new", $node->{_host} or die "$node->{_host}: $!";
	return;
}

# A standby of the node, for which COMMIT waits; start is called to start it.
sub make_standby
{
	my ($node, $start) = @_;
	my $standby = $node->{standby} //= new_standby($node);

	$node->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = '*'});
	$node->reload;
	end_all($standby);
	rmtree($standby->data_dir);
	system_or_bail($node->installed_command('pg_basebackup'), '--no-sync', '-c', 'fast', '-R', '-D', $standby->data_dir, '-d', $node->connstr('postgres'));
	$standby->append_conf('postgresql.conf', sockets($standby));
	$start->($standby);
	return $node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'});
}

sub new_standby
{
	my ($node) = @_;
	my $standby = ActorstoreCluster->new($node->name . '_other', port => $node->port, install_path => $node->{_install_path});

	$standby->{sockets} = PostgreSQL::Test::Utils::tempdir_short();
	$standby->{_host} = $standby->{sockets};
	return $standby;
}

# The standby hears nothing for a while, then the primary's postmaster is killed, whatever its sessions are still doing, and
# the standby becomes the primary.  The same object is the node's afterwards.
sub take_over
{
	my ($node, $start) = @_;
	my $standby = $node->{standby};
	my $postmaster = $node->{_pid} // die $node->name . ' does not run';
	my ($receiver) = rows($standby, 'postgres', 'SELECT pid FROM pg_stat_wal_receiver');

	kill 'STOP', $receiver if $receiver;
	usleep(rand 500_000);
	kill 'KILL', $postmaster;
	kill $_, $receiver foreach $receiver ? qw(TERM CONT) : ();
	usleep(rand 500_000);
	$standby->promote;
	(@$node{@of_server}, @$standby{@of_server}) = (@$standby{@of_server}, @$node{@of_server});
	point_to($node);
	return make_standby($node, $start);
}

# What is left of a server whose postmaster has gone.
sub end_all
{
	my ($server) = @_;
	my $directory = $server->data_dir;
	my $until = time + patience();

	while (my @left = grep { (readlink("/proc/$_/cwd") // '') eq $directory } map { m{(\d+)$} } glob '/proc/[0-9]*')
	{
		kill 'KILL', @left;
		die "processes of $directory do not end" if time > $until;
		usleep(10_000);
	}
	$server->{_pid} = undef;
	return;
}

1;
