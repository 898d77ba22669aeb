# Batches of messages that are signed, and those that should be and are not; keys
# that change; batches that are made by hand, repeated, bent; and nodes that
# send more than they may.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# a superuser declares the type
use ActorstoreTest;
use Digest::SHA qw(hmac_sha256 sha256);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my @nodes = new_cluster('one', 'two', { settings => "max_worker_processes = 16\nactorstore.resolver_interval = 100ms\nactorstore.peer_timeout = 60s" });
my ($one, $two) = @nodes;
$one->safe_psql('d', q{SELECT actorstore.create_type('t', mailbox_limit => 1000000), actorstore.set_handler('t', 'add', 'public.collect(jsonb, jsonb)')});
my $there = $one->safe_psql('d', q{SELECT min('a' || i) FROM generate_series(1, 300) AS i WHERE actorstore.locate('t', 'a' || i) = 'two'});
my $spare = $one->safe_psql('d', q{SELECT max('a' || i) FROM generate_series(1, 300) AS i WHERE actorstore.locate('t', 'a' || i) = 'two'});
my ($old, $new, $other) = map { unpack 'H*', sha256($_) } qw(old new other);
my $directory = PostgreSQL::Test::Utils::tempdir();
my $n = 0;

# ---- What is said to nodes ----

sub set
{
	my ($node, $name, $value) = @_;
	$node->safe_psql('d', "ALTER SYSTEM SET actorstore.$name = '$value'");
	$node->reload;
	$node->poll_query_until('d', "SELECT current_setting('actorstore.$name') = '$value'") or die;
	return anew();
}

# Whoever sends has read what is set, and so has who takes it.
sub anew { $one->safe_psql('d', q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE backend_type = 'actorstore forwarder'}); return; }

# Put these lines into a node's file of keys, in place of the one that was there.
sub write_keys
{
	my ($node, $lines, $mode) = @_;
	my $file = "$directory/" . $node->name;
	unlink "$file.new";
	append_to_file("$file.new", $lines);
	chmod $mode // 0600, "$file.new" or die;
	rename "$file.new", $file or die;
	return $file;
}

# ---- What comes, and what does not ----

sub send_some { my ($some) = @_; $one->safe_psql('d', "SELECT actorstore.send('t', '$there', 'add', to_jsonb(i)) FROM generate_series($n + 1, $n + $some) AS i"); $n += $some; return; }
sub all_is_there
{
	my ($name) = @_;
	my $actor = "SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$there'";
	ok(comes_true($two, 'd', "coalesce((SELECT jsonb_array_length(($actor))), 0) >= $n"), "$name: it arrives");
	is($two->safe_psql('d', $actor), '[' . join(', ', 1 .. $n) . ']', "$name: once, and in order");
	return;
}
sub refused { my ($of) = @_; return $two->safe_psql('d', 'SELECT refused FROM actorstore.stat_inbox WHERE node_name IS NOT DISTINCT FROM ' . ($of ? "'$of'" : 'NULL')); }
sub duplicates { my ($of) = @_; return $two->safe_psql('d', 'SELECT duplicates FROM actorstore.stat_inbox WHERE node_name IS NOT DISTINCT FROM ' . ($of ? "'$of'" : 'NULL')); }
sub batches { return $two->safe_psql('d', q{SELECT sum(batch) FROM actorstore.inbox}); }
sub is_refused
{
	my ($name, $pattern) = @_;
	my ($log, $before, $batches) = (-s $two->logfile, refused('one'), batches());
	send_some(5);
	ok(comes_true($two, 'd', "(SELECT refused FROM actorstore.stat_inbox WHERE node_name = 'one') > $before + 1"), "$name: refused, again and again");
	like(slurp_file($two->logfile, $log), qr/FATAL:  a batch of messages from another node is refused\n.*DETAIL:  $pattern/, "$name: why");
	is(batches(), $batches, "$name: nothing is stored");
	return;
}

# ---- Signed or not ----

send_some(5);
all_is_there('neither signs');
write_keys($_, "# the cluster's key\n$old\n") foreach @nodes;
set($two, 'message_key_file', "$directory/two");
set($two, 'message_signing', 'required');
is_refused('unsigned where that is required', 'It is not signed\.');
$one->safe_psql('d', q{UPDATE actorstore.outbox_batch SET made_at = made_at - interval '2 min'});
my $outbox = q{(SELECT FROM actorstore.doctor() WHERE item = 'outbox' AND NOT ok AND detail ~ 'node two')};
ok(comes_true($one, 'd', "EXISTS $outbox"), 'and for long: doctor() says so');
set($one, 'message_key_file', "$directory/one");
set($one, 'message_signing', 'on');
all_is_there('signed');
write_keys($one, "$other\n");
is_refused('another key', 'It is signed with a key that is not known here\.');

# ---- Keys change, one node after the other ----

write_keys($one, "$old\n");
all_is_there('the key');
write_keys($two, "$old\n$new\n");
send_some(5);
all_is_there('another one is known');
ok(comes_true($one, 'd', "NOT EXISTS $outbox"), 'and does no more');
write_keys($one, "$new\n$old\r\n\n");
send_some(5);
all_is_there('it signs');
write_keys($two, "$new\n");
send_some(5);
all_is_there('the old one is forgotten');
write_keys($one, "$old\n");
is_refused('who still signs with it', 'It is signed with a key that is not known here\.');
write_keys($one, "$new\n");
all_is_there('and does no more');

# ---- Made by hand ----

# As a node would make it, for another actor.
sub some_envelope
{
	my ($some) = @_;
	$one->safe_psql('d', "SELECT actorstore.send('t', '$spare', 'add', to_jsonb(i)) FROM generate_series(1, $some) AS i");
	comes_true($one, 'd', 'NOT EXISTS (SELECT FROM actorstore.outbox)');
	return (rows($one, 'd', q{SELECT encode(envelope, 'hex') FROM actorstore.outbox_batch ORDER BY batch DESC LIMIT 1}))[0];
}
my $envelope = some_envelope(5);
my %uuid = map { $_->name => $_->safe_psql('d', q{SELECT node_uuid FROM actorstore.node WHERE is_self}) } @nodes;
my $stranger = '11111111-2222-3333-4444-555555555555';
my $epoch = $two->safe_psql('d', 'SELECT max(epoch) FROM actorstore.epoch');
sub plain { my ($uuid) = @_; return pack 'H*', $uuid =~ s/-//gr; }
sub by_hand
{
	my ($batch, %but) = @_;
	my %is = (key => pack('H*', $new), receiver => $uuid{two}, sender => $stranger, incarnation => 1, batch => $batch, epoch => $epoch, envelope => pack('H*', $envelope), %but);
	my $head = "ASME\2\0\0\0" . substr sha256($is{key}), 0, 8;
	return $head . hmac_sha256($head . plain($is{receiver}) . plain($is{sender}) . pack('q<q<q<', @is{qw(incarnation batch epoch)}) . $is{envelope}, $is{key}) . $is{envelope};
}
sub deliver
{
	my ($batch, $bytes) = @_;
	return sqlstate($two, 'd', sprintf q{SELECT actorstore.local_deliver('%s', 1, %d, %d, '\x%s')}, $stranger, $batch, $epoch, unpack 'H*', $bytes);
}
sub mark { return $two->safe_psql('d', "SELECT coalesce(max(batch), 0) FROM actorstore.inbox WHERE origin = '$stranger'"); }
my $before = refused();
is(deliver(1, by_hand(1, key => pack 'H*', $other)), '28000', 'a key that is not known');
is(deliver(1, by_hand(1, %$_)), '28000', 'signed for something else: ' . join ' ', keys %$_)
  foreach { receiver => $uuid{one} }, { sender => $uuid{one} }, { incarnation => 2 }, { batch => 2 }, { epoch => $epoch - 1 };
my $good = by_hand(1);
is(deliver(1, substr($good, 0, $_)), '28000', "cut to $_ bytes") foreach 5, 47, 48, length($good) - 1;
is(deliver(1, "$good\0"), '28000', 'a byte more');
my $bent = 0;
for (my $at = 8; $at < length $good; $at += 13)
{
	my $copy = $good;
	substr($copy, $at, 1) ^= "\x10";
	$bent++ if deliver(1, $copy) ne '28000';
}
is($bent, 0, 'no byte can be changed');
my $nbent = int((length($good) - 8 + 12) / 13);
is(deliver(1, pack 'H*', $envelope), '28000', 'the same without a signature');
is(deliver(1, by_hand(1, envelope => 'garbage')), 'XX001', 'garbage, rightly signed');
is(mark(), 0, 'nothing was stored');
is(refused() - $before, 1 + 5 + 4 + 1 + $nbent + 1 + 1, 'each one was counted');
is(deliver(1, $good), '00000', 'one that is right');
is(mark(), 1, 'is stored');
$before = refused();
is(deliver(1, $good), '08P01', 'a second time it is refused');
is(mark(), 1, 'and not stored');
is(refused() - $before, 1, 'but counted');
is(duplicates() . ' ' . duplicates('one'), '1 0', 'as one that is here already, which none of the others was');
my $session = ActorstoreTest::Session->new($two, 'd');
$session->start(sprintf q{SELECT actorstore.local_deliver('%s', 1, 1, %d, '\x%s')}, $stranger, $epoch, unpack 'H*', $good);
eval { $session->finish };
ok(comes_true($two, 'd', "NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $session->{pid})"), 'whoever brings it is thrown out');
eval { $session->quit };
is(duplicates() . ' ' . (refused() - $before), '2 2', 'each time is counted');

# Of a node that does not sign, as all did before there were signatures: taken where nothing else is required.
set($two, 'message_signing', 'on');
is(deliver(2, pack 'H*', $envelope), '00000', 'without a signature, where none is required');
is(deliver(3, by_hand(3, epoch => 0)), '28000', 'with a wrong one nowhere');

# ---- Files that are none ----

my %bad = ('others may read it' => [ "$new\n", 0640 ], 'no key' => ["# none\n"], 'short' => [ substr($new, 2) . "\n" ], 'long' => [ $new x 3 ], 'odd' => ["${new}1\n"], 'no digits' => [ "x$new" =~ s/.$//r ], 'three' => ["$new\n$old\n$other\n"], 'much' => [ "# much\n" x 1000 . $new ]);
foreach my $name (sort keys %bad)
{
	write_keys($two, @{ $bad{$name} });
	is(deliver(3, by_hand(3)), 'F0000', "a file of keys: $name");
}
unlink "$directory/two";
is(deliver(3, by_hand(3)), 'F0000', 'a file of keys that is not there');
set($two, 'message_key_file', '');
is(deliver(3, by_hand(3)), '28000', 'no file, and a signature');
write_keys($two, "$new\n");
set($two, 'message_key_file', "$directory/two");
is(deliver(3, by_hand(3)), '00000', 'a file that is one');
write_keys($one, "no key\n");
my $log = -s $one->logfile;
send_some(5);
my $until = time + patience();
until (slurp_file($one->logfile, $log) =~ /the keys for messages between nodes cannot be read/ || time > $until) { usleep(20_000); }
like(slurp_file($one->logfile, $log), qr/messages to node number 2 wait: the keys for messages between nodes cannot be read/, 'who cannot sign says so');
write_keys($one, "$new\n");
all_is_there('and sends later');

# ---- Too many ----

send_some(300);
all_is_there('many');
my $many = some_envelope(300);
set($two, 'peer_message_rate', 1);
is(deliver(4, by_hand(4, envelope => pack 'H*', $many)), '00000', 'a slow node: one transaction is let in');
is(deliver(5, by_hand(5)), '53400', 'the next one is not');
is(deliver(5, by_hand(5)), '53400', 'nor is another one');
is(mark(), 4, 'which are not stored');
is($two->safe_psql('d', q{SELECT limited FROM actorstore.stat_inbox WHERE node_name IS NULL}), 2, 'but counted');
set($two, 'peer_message_rate', 0);
is(deliver(5, by_hand(5)), '00000', 'any number may come: so may this one');
my $received = $two->safe_psql('d', q{SELECT received FROM actorstore.stat_inbox WHERE node_name = 'one'});
set($two, 'peer_message_rate', 200);
for (1 .. 20) { send_some(20); }
all_is_there('no more than a rate');
cmp_ok($two->safe_psql('d', q{SELECT received FROM actorstore.stat_inbox WHERE node_name = 'one'}) - $received, '>=', 400, 'they were counted');
ok(comes_true($two, 'd', "(SELECT jsonb_array_length(value) FROM actorstore.actor WHERE actor_id = '$spare') = 5 + 3 * 5 + 300 + 300 + 5"), 'what was made by hand has arrived, what was right');
is($two->safe_psql('d', q{SELECT count(*) FROM actorstore.dead_message}), 0, 'nothing has died');

$_->stop foreach @nodes;
done_testing();
