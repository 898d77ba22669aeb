# The network that does as it is told (test/faults/wire), itself: without
# servers, between a client here and one that echoes, or sends on command.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use ActorstoreWire;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $directory = PostgreSQL::Test::Utils::tempdir_short();
my $server = IO::Socket::UNIX->new(Local => "$directory/server", Listen => 5) or die;
my $port = wire_link('l', "$directory/server");

# A client and what the server has of it.
sub connected
{
	my $client = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die;
	return ($client, $server->accept);
}

# So many bytes, or what has come until the end of the connection, or "nothing" if there is nothing for a moment.
sub comes
{
	my ($from, $n) = @_;
	my $all = '';
	while (length $all < $n)
	{
		return "$all..." if !IO::Select->new($from)->can_read(patience());
		my $read = sysread $from, $all, $n - length $all, length $all;
		return "$all error" if !defined $read;
		return "$all end" if !$read;
	}
	return $all;
}
sub nothing_comes { my ($from) = @_; return !IO::Select->new($from)->can_read(0.3); }
sub say_to { my ($to, $what) = @_; return syswrite $to, $what; }
sub came { my ($file) = @_; my $until = time + patience(); usleep(1000) until -e $file || time > $until; return -e $file; }

# ---- All of it, and no more ----

my ($client, $peer) = connected();
say_to($client, 'there');
is(comes($peer, 5), 'there', 'there');
say_to($peer, 'and back');
is(comes($client, 8), 'and back', 'and back');
my $much = join '', map { chr(65 + $_ % 26) } 1 .. 3_000_000;
my $writer = fork // die;
if (!$writer) { my $at = 0; while ($at < length $much) { $at += syswrite($client, $much, 100_000, $at) // last; } POSIX::_exit(0); }
ok(comes($peer, length $much) eq $much, 'three million bytes');
waitpid $writer, 0;
like(wire('count l'), qr/^1 1 3000005 8$/, 'are counted');
say_to($client, 'last words');
shutdown $client, 1;
is(comes($peer, 99), 'last words end', 'an end comes behind what was sent');
say_to($peer, 'goodbye');
close $peer;
is(comes($client, 99), 'goodbye end', 'in both directions');
close $client;

# ---- Holes ----

($client, $peer) = connected();
wire('hole l there');
say_to($client, 'lost?');
say_to($peer, 'heard');
is(comes($client, 5), 'heard', 'a hole there: what comes back comes');
ok(nothing_comes($peer), 'what goes there does not');
wire('pass l');
is(comes($peer, 5), 'lost?', 'but later');
wire('hole l back');
say_to($client, 'a');
is(comes($peer, 1), 'a', 'a hole back: what goes there comes');
say_to($peer, 'b');
ok(nothing_comes($client), 'nothing comes back');
close $peer;
ok(nothing_comes($client), 'not even that it has ended');
wire('pass l');
is(comes($client, 99), 'b end', 'but later');
wire('hole l both');
my $quiet = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die;
say_to($quiet, 'hello');
$peer = $server->accept;
ok(nothing_comes($peer), 'who connects is told nothing');
wire('pass l');
is(comes($peer, 5), 'hello', 'and goes on');

# ---- Cut ----

wire('cut l');
is(comes($quiet, 1), ' error', 'cut: a reset');
is(comes($peer, 1), ' end', 'and an end');
my $refused = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
like($refused ? comes($refused, 1) : ' error', qr/^ (error|end)$/, 'so has who comes now');
$server->accept;
wire('pass l');
($client, $peer) = connected();
say_to($client, 'again');
is(comes($peer, 5), 'again', 'together again');

# ---- Late and slow ----

wire('delay l 300');
my $began = time;
say_to($client, 'late');
is(comes($peer, 4), 'late', 'late');
cmp_ok(time - $began, '>=', 0.29, 'by that much');
wire('pass l');
wire('throttle l 20000');
$began = time;
say_to($client, 'x' x 10_000);
is(comes($peer, 10_000), 'x' x 10_000, 'slow');
cmp_ok(time - $began, '>=', 0.4, 'as slow as that');
wire('pass l');

# ---- Twice, and at a word ----

wire('duplicate l there');
say_to($client, 'one');
is(comes($peer, 6), 'oneone', 'twice');
say_to($client, 'two');
is(comes($peer, 3), 'two', 'once again');
wire('duplicate l back');
say_to($peer, 'back');
is(comes($client, 8), 'backback', 'twice back');
wire("at l duplicate $directory/twice the word");
say_to($client, 'a word');
is(comes($peer, 6), 'a word', 'at a word: not at another one');
ok(!-e "$directory/twice", 'nothing is said');
say_to($client, 'it is the word!');
is(comes($peer, 30), 'it is the word!' x 2, 'twice');
ok(came("$directory/twice"), 'and said');
say_to($client, 'the word');
is(comes($peer, 8), 'the word', 'once only');
wire("at l lose $directory/lost COMMIT");
say_to($client, 'COMMIT');
is(comes($peer, 6), 'COMMIT', 'it gets there');
say_to($peer, 'done');
is(comes($client, 4), ' end', 'the answer is lost');
ok(came("$directory/lost"), 'as is said');
is(comes($peer, 1), ' end', 'at both ends');
($client, $peer) = connected();
wire("at l silence $directory/silent COMMIT");
say_to($client, 'COMMIT');
is(comes($peer, 6), 'COMMIT', 'it gets there');
ok(came("$directory/silent"), 'and then');
say_to($peer, 'done');
ok(nothing_comes($client), 'no answer comes');
say_to($client, 'hello?');
ok(nothing_comes($peer), 'nor goes anything');
my @other = connected();
say_to($other[0], 'other');
is(comes($other[1], 5), 'other', 'others are not concerned');

# ---- What it does not know ----

foreach my $wrong ('dance l', 'pass m', 'hole l', 'at l dance file word', "link l $directory/server")
{
	eval { wire($wrong) };
	like($@, qr/error/, $wrong);
}

done_testing();
