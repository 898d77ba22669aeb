# Faults between servers and below them: a connection that is cut or goes
# silent at a certain word (a process between two servers), and a disk that is
# full or holds its breath (test/faults/disk.c, loaded into one server).

package ActorstoreFaults;

use strict;
use warnings;

use ActorstoreTest;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep);

our @EXPORT = qw(start_proxy at_word wait_for_file with_disk);

# Wait until a file is there.
sub wait_for_file
{
	my ($file) = @_;
	my $until = time + patience();

	until (-e $file)
	{
		die "$file does not come" if time > $until;
		usleep(1000);
	}
	return;
}

# ---- The network ----

my @children;

# A way to a server: { conninfo, directory }.  It forwards all until told otherwise.
sub start_proxy
{
	my ($node, $database) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir('proxy');
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 50, ReuseAddr => 1) or die "no proxy: $!";
	my $parent = $$;
	my $pid = fork;

	die 'cannot fork' if !defined $pid;
	if (!$pid)
	{
		$SIG{PIPE} = 'IGNORE';
		eval { serve($listener, $node->host . '/.s.PGSQL.' . $node->port, $directory, $parent); 1 } or warn $@;
		POSIX::_exit(1);
	}
	push @children, $pid;
	return { conninfo => "host=127.0.0.1 port=$port dbname=$database", directory => $directory };
}

END
{
	my $status = $?;
	kill 'KILL', $_ foreach @children;
	waitpid $_, 0 foreach @children;
	$? = $status;
}

# What becomes of a connection once the word was sent over it: 'lose answer'
# (the server gets it, its answer is lost, and the connection cut), 'silence' (the
# server gets it; nothing comes or goes any more, and nothing is cut).  The file
# that this returns is there once it has happened; it happens once.
sub at_word
{
	my ($proxy, $word, $what) = @_;
	my $done = "$proxy->{directory}/done";

	unlink $done;
	append_to_file("$proxy->{directory}/new", "$what\n$word");
	rename "$proxy->{directory}/new", "$proxy->{directory}/word" or die;
	return $done;
}

sub serve
{
	my ($listener, $path, $directory, $parent) = @_;
	my $select = IO::Select->new($listener);
	my (%other, %is_client, %fate);

	while (getppid() == $parent)
	{
		foreach my $socket ($select->can_read(0.1))
		{
			if ($socket == $listener)
			{
				my $client = $listener->accept or next;
				my $server = IO::Socket::UNIX->new(Peer => $path);
				if (!$server) { close $client; next; }
				$select->add($client, $server);
				@other{ $client, $server } = ($server, $client);
				$is_client{$client} = 1;
				next;
			}
			my $peer = $other{$socket} or next;
			my $read = sysread $socket, my $data, 65536;
			if (!$read || ($fate{$socket} // '') eq 'lose answer')
			{
				$select->remove($socket, $peer);
				delete @other{ $socket, $peer };
				append_to_file("$directory/done", '') if $fate{$socket};
				delete @fate{ $socket, $peer };
				close $_ foreach $socket, $peer;
				next;
			}
			forward($peer, $data);
			next if !$is_client{$socket} || !-e "$directory/word";
			my ($what, $word) = split /\n/, slurp_file("$directory/word"), 2;
			next if index($data, $word) < 0;
			unlink "$directory/word";
			$fate{$peer} = $what;
			if ($what eq 'silence')
			{
				$select->remove($socket, $peer);
				append_to_file("$directory/done", '');
			}
		}
	}
	POSIX::_exit(0);
}

sub forward
{
	my ($to, $data) = @_;

	while (length $data)
	{
		my $written = syswrite $to, $data;
		return if !defined $written;
		substr($data, 0, $written, '');
	}
	return;
}

# ---- The disk ----

# Start a server again on a disk that can be full.  Returns the directory whose
# files say what it does (disk.c).
sub with_disk
{
	my ($node) = @_;
	my $directory = $node->{disk} // PostgreSQL::Test::Utils::tempdir('disk');
	my $source = dirname(abs_path(__FILE__)) . '/../faults/disk.c';
	my $library = "$directory/disk.so";

	if (!-e $library)
	{
		my ($compiler) = split ' ', `$ENV{PG_CONFIG} --cc`;
		system_or_bail($compiler, '-O', '-fPIC', '-shared', '-o', $library, $source, '-ldl');
	}
	$node->{disk} = $directory;
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{ACTORSTORE_DISK} = $directory;
	$node->start;
	return $directory;
}

1;
