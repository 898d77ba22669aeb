# Faults between servers and below them: a connection that is cut or goes
# silent at a certain word (ActorstoreWire), and a disk that is
# full or holds its breath, or a clock that is set (test/faults/disk.c, clock.c,
# loaded into one server).

package ActorstoreFaults;

use strict;
use warnings;

use ActorstoreTest;
use ActorstoreWire;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep);

our @EXPORT = qw(start_proxy at_word wait_for_file with_disk with_clock set_clock fault_environment);

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

# A way to a server: { conninfo, link }.  It forwards all until told otherwise.
sub start_proxy
{
	my ($node, $database) = @_;
	my ($link, $conninfo) = wire_to($node, $database);
	return { conninfo => $conninfo, link => $link };
}

# What becomes of a connection once the word was sent over it: 'lose', 'silence'
# or 'duplicate' (test/faults/wire).  The file that this returns is there once it
# has happened; it happens once.
sub at_word
{
	my ($proxy, $word, $what) = @_;
	my $done = ($proxy->{done} //= PostgreSQL::Test::Utils::tempdir_short() . '/done');

	unlink $done;
	wire("at $proxy->{link} $what $done $word");
	return $done;
}

# A library of test/faults, in a directory.
sub library
{
	my ($name, $directory) = @_;
	my $source = dirname(abs_path(__FILE__)) . "/../faults/$name.c";
	my $library = "$directory/$name.so";

	if (!-e $library)
	{
		my ($compiler) = split ' ', `$ENV{PG_CONFIG} --cc`;
		system_or_bail($compiler, '-O', '-fPIC', '-shared', '-o', $library, $source, '-ldl');
	}
	return $library;
}

# What makes a server that is started with it have these: clock, disk.
sub fault_environment
{
	my ($node, @names) = @_;
	$node->{$_} //= PostgreSQL::Test::Utils::tempdir($_) foreach @names;
	return (LD_PRELOAD => join(':', map { library($_, $node->{$_}) } @names), map { ("ACTORSTORE_\U$_" => $node->{$_}) } @names);
}

sub start_with
{
	my ($node, $name) = @_;
	my %environment = fault_environment($node, $name);

	local @ENV{ keys %environment } = values %environment;
	$node->start;
	return $node->{$name};
}

# ---- The clock ----

# Start a server again with a clock that can be set.
sub with_clock { start_with($_[0], 'clock'); return; }

# Its time of day is wrong by so many seconds, from now on.
sub set_clock
{
	my ($node, $seconds) = @_;
	append_to_file("$node->{clock}/new", "$seconds\n");
	rename "$node->{clock}/new", "$node->{clock}/offset" or die;
	return;
}

# ---- The disk ----

# Start a server again on a disk that can be full.  Returns the directory whose
# files say what it does (disk.c).
sub with_disk { return start_with($_[0], 'disk'); }

1;
