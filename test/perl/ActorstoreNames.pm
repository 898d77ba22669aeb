# A name server of our own, on the loopback, that answers A and SRV as it is told; servers that are started under it ask
# nobody else (test/faults/names.c).
#
# What it says stands in a file, which may change at any time, a line for each record:
#
#	A name address
#	SRV name priority weight port target
#	SILENCE name		no answer
#	GARBAGE name		an answer that cannot be read
#
# What has no line does not exist.  Each question is written down.

package ActorstoreNames;

use strict;
use warnings;

use ActorstoreFaults;
use Exporter 'import';
use File::Basename;
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils;

our @EXPORT = qw(start_names say_names names_asked with_names);

my %number = (A => 1, SRV => 33);
my %kind = reverse %number;

sub packed_name { my ($name) = @_; return join('', map { pack 'C/a', $_ } split /\./, $name) . "\0"; }

sub packed_record
{
	my ($kind, @data) = @_;
	my $data = $kind eq 'A' ? pack('C4', split /\./, $data[0]) : pack('n3', @data[0 .. 2]) . packed_name($data[3]);

	return pack('n n n N n/a', 0xc00c, $number{$kind}, 1, 60, $data);
}

# The answer to a question; undef: none.
sub answer
{
	my ($file, $question) = @_;
	my ($id, $flags, $count) = unpack 'n3', $question;
	my ($at, @labels) = (12);

	while (my $length = unpack "x$at C", $question)
	{
		push @labels, substr $question, $at + 1, $length;
		$at += $length + 1;
	}
	my ($type) = unpack "x${at} x n", $question;
	my $name = lc join '.', @labels;
	my $kind = $kind{$type} // 'other';
	append_to_file("$file.asked", "$kind $name\n");
	my @lines = map { [split] } grep { /\S/ } split /\n/, slurp_file($file);
	my @of_name = grep { lc $_->[1] eq $name } @lines;
	return undef if grep { $_->[0] eq 'SILENCE' } @of_name;
	return pack('n', $id) . substr($question, 2) . "\xff" x 30 if grep { $_->[0] eq 'GARBAGE' } @of_name;
	my @records = map { packed_record($_->[0], @$_[2 .. $#$_]) } grep { $_->[0] eq $kind } @of_name;
	return pack('n6', $id, 0x8580 | (@of_name ? 0 : 3), 1, scalar @records, 0, 0) . substr($question, 12, $at + 5 - 12) . join '', @records;
}

# A server: { port, file }.  It ends with the test.
sub start_names
{
	my $file = PostgreSQL::Test::Utils::tempdir('names') . '/records';
	my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'udp') or die "$!";
	my $test = $$;

	append_to_file($file, '');
	append_to_file("$file.asked", '');
	my $pid = fork // die "$!";
	if ($pid == 0)
	{
		$SIG{ALRM} = sub { getppid == $test ? alarm 1 : POSIX::_exit(0) };
		alarm 1;
		while (1)
		{
			my $from = $socket->recv(my $question, 65535);
			next if !defined $from || length $question < 17;
			my $answer = answer($file, $question);
			$socket->send($answer, 0, $from) if defined $answer;
		}
	}
	return { port => $socket->sockport, file => $file };
}

# What it says from now on.
sub say_names
{
	my ($names, @lines) = @_;

	append_to_file("$names->{file}.new", join "\n", @lines, '');
	rename "$names->{file}.new", $names->{file} or die "$!";
	return;
}

# How often it was asked: "SRV name".
sub names_asked
{
	my ($names, $what) = @_;
	return scalar grep { $_ eq $what } split /\n/, slurp_file("$names->{file}.asked");
}

# Start a server that asks it.
sub with_names
{
	my ($node, $names) = @_;

	local $ENV{LD_PRELOAD} = ActorstoreFaults::library('names', dirname($names->{file}));
	local $ENV{ACTORSTORE_NAMES} = $names->{port};
	$node->start;
	return;
}

1;
