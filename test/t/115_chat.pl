# examples/chat on two nodes, as its README says: people who live on different nodes hear each other, and so does who comes later.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'it makes types and functions on all nodes, which log in as a superuser for that' if with_tls();

my @nodes = new_cluster('one', 'two', { settings => 'max_worker_processes = 16' });
my $chat = "$FindBin::RealBin/../../examples/chat";

# As the README says, on all nodes but one, and then on that one.
my ($make) = slurp_file("$chat/README.md") =~ /^    (sed .*)$/m or die 'README.md has no command';
my $there = $nodes[1]->connstr('d');
my ($said, $complaints);
ok(IPC::Run::run([ 'bash', '-c', qq{cd "$chat/../.." && $make -XAtq -v ON_ERROR_STOP=1 -d "$there"} ], '<', \undef, '>', \$said, '2>', \$complaints), 'the functions are made on another node') or diag $complaints;
is($nodes[1]->safe_psql('d', q{SELECT count(*) > 10 FROM pg_proc WHERE prosrc ~ 'actorstore|room_tell'}), 't', 'all of them');
my ($status, $stdout, $stderr) = $nodes[0]->psql('d', undef, extra_params => [ '-f', "$chat/chat.sql" ]);
is($status, 0, 'chat.sql runs') or diag $stderr;

# Somebody who lives on each, and rooms on both.
my ($alice, $bob) = map { $nodes[0]->safe_psql('d', "SELECT min(name) FROM unnest('{alice,bob,carol,dave,eve,frank,grace,heidi}'::text[]) AS name WHERE actorstore.locate('person', name) = '$_'") } qw(one two);
ok($alice && $bob, "$alice and $bob");
my %at = ($alice => ActorstoreTest::Session->new($nodes[0], 'd'), $bob => ActorstoreTest::Session->new($nodes[1], 'd'));
$at{$_}->query("LISTEN chat_$_") foreach $alice, $bob;

# Nothing is under way any more, neither there nor in between.
sub is_quiet
{
	foreach (1, 2)
	{
		foreach my $node (@nodes, @nodes)
		{
			return 0 unless comes_true($node, 'd', q{NOT EXISTS (SELECT FROM actorstore.outbox) AND NOT EXISTS (SELECT FROM actorstore.message)
				AND (SELECT coalesce(sum(on_their_way), 0) = 0 FROM actorstore.stat_outbox)});
		}
	}
	return 1;
}

# What somebody does; what he was told since he was asked last, which psql shows with any command.
my %told;
sub asks { my ($who, $sql) = @_; $told{$who} .= $at{$who}->query($sql); return; }
sub does { my ($who, $sql) = @_; asks($who, "SELECT $sql"); ok(is_quiet(), "$who: $sql"); return; }
sub hears { my ($who) = @_; asks($who, 'SELECT 1') for 1 .. 2; return join "\n", delete($told{$who}) =~ /with payload "(.*?)" received/g; }

foreach my $room ('kitchen', 'garden', 'cellar', 'attic')
{
	my $place = $nodes[0]->safe_psql('d', "SELECT actorstore.locate('room', '$room')");

	does($alice, "enter('$alice', '$room')");
	does($bob, "enter('$bob', '$room')");
	does($bob, "say('$bob', '$room', 'Is there tea?')");
	does($alice, "say('$alice', '$room', 'There is.')");
	my $all = "$room: $alice comes in\n$room: $bob comes in\n$room: $bob says: Is there tea?\n$room: $alice says: There is.";
	is(hears($alice), $all, "$room, on $place: who lives on one hears all of it");
	is(hears($bob), $all, "$room, on $place: and who lives on two");
	does($alice, "leave('$alice', '$room')");
	does($bob, "say('$bob', '$room', 'Anybody?')");
	is(hears($alice), '', "$room, on $place: who has left hears no more");
	is(hears($bob), "$room: $alice goes out\n$room: $bob says: Anybody?", "$room, on $place: who is there does");
}
is($nodes[0]->safe_psql('d', q{SELECT count(DISTINCT actorstore.locate('room', room)) FROM unnest('{kitchen,garden,cellar,attic}'::text[]) AS room}), '2', 'there were rooms on both nodes');
is($_->safe_psql('d', 'SELECT message, sqlstate, error FROM actorstore.dead_letter'), '', 'no dead letters on ' . $_->name) foreach @nodes;
is($_->safe_psql('d', 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'nothing is left prepared on ' . $_->name) foreach @nodes;

$_->stop foreach @nodes;
done_testing();
