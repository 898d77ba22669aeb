# A network between servers that does as it is told (test/faults/wire).

package ActorstoreWire;

use strict;
use warnings;

use ActorstoreTest;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename;
use IO::Socket::UNIX;
use POSIX ();
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep);

our @EXPORT = qw(wire wire_link wire_to wire_nodes wire_between);

my ($pid, $control, $directory);
my $nlinks = 0;
my %conninfos;

# A command, as the head of test/faults/wire has them; returns what is answered.
sub wire
{
	my ($command) = @_;

	begin() if !$control;
	print $control "$command\n";
	my $answer = <$control> // die 'the wire has gone';
	chomp $answer;
	die "$command: $answer" if $answer !~ s/^ok ?//;
	return $answer;
}

sub begin
{
	my $program = dirname(abs_path(__FILE__)) . '/../faults/wire';
	my $parent = $$;
	my $until = time + patience();

	$directory = PostgreSQL::Test::Utils::tempdir_short();
	$pid = fork // die 'cannot fork';
	if (!$pid)
	{
		exec $^X, $program, "$directory/control", $parent or POSIX::_exit(1);
	}
	until ($control = IO::Socket::UNIX->new(Peer => "$directory/control"))
	{
		die 'no wire' if time > $until || waitpid $pid, POSIX::WNOHANG();
		usleep(1000);
	}
	$control->autoflush(1);
	return;
}

END
{
	my $status = $?;
	if ($pid) { kill 'KILL', $pid; waitpid $pid, 0; }
	$? = $status;
}

# A link to a server at a path or HOST:PORT; its port.
sub wire_link { my ($name, $target) = @_; return wire("link $name $target"); }

# A way to a node's database: the link's name, and the conninfo.
sub wire_to
{
	my ($node, $database, $name) = @_;
	$name //= 'link' . ++$nlinks;
	my $port = wire_link($name, $node->host . '/.s.PGSQL.' . $node->port);
	return ($name, "host=127.0.0.1 port=$port dbname=$database");
}

# From now on the nodes speak to each other over links: a-b is what a opens to b, and to themselves without one.
# To be said again after each epoch, which writes the conninfos of who proposed it everywhere.
sub wire_nodes
{
	my (@nodes) = @_;

	foreach my $from (@nodes)
	{
		$from->safe_psql('d', q{UPDATE actorstore.node SET conninfo = $$} . $from->connstr('d') . q{$$ WHERE is_self});
		foreach my $to (grep { $_ != $from } @nodes)
		{
			my $name = $from->name . '-' . $to->name;
			$conninfos{$name} //= (wire_to($to, 'd', $name))[1];
			$from->safe_psql('d', "UPDATE actorstore.node SET conninfo = '$conninfos{$name}' WHERE node_name = '" . $to->name . "'");
		}
	}
	return;
}

# The same to the links between two nodes, in both directions.
sub wire_between
{
	my ($one, $other, $command, @rest) = @_;
	wire(join ' ', $command, $_, @rest) foreach $one->name . '-' . $other->name, $other->name . '-' . $one->name;
	return;
}

1;
