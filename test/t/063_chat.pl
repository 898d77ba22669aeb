# examples/chat, played as its README says: two people at psql.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('chat', settings => "actorstore.workers = 2");
new_database_with_actors($node, 'd');
$node->safe_psql('d', 'DROP EXTENSION actorstore');

my ($status, $stdout, $stderr) = $node->psql('d', undef, extra_params => [ '-f', "$FindBin::RealBin/../../examples/chat/chat.sql" ]);
is($status, 0, 'chat.sql runs');
is("$stdout$stderr", '', 'and says nothing') or diag($stderr);

my ($alice, $bob) = map { $node->background_psql('d', on_error_stop => 1) } 1 .. 2;

# What somebody does, once the actors are at rest; what he was told since he was asked last.  psql shows it with any command.
my %told;
sub does { my ($who, $sql) = @_; $told{$who} .= $who->query($sql); return quiet(); }
sub quiet { return comes_true($node, 'd', 'NOT EXISTS (SELECT FROM actorstore.message)'); }
sub hears { my ($who) = @_; does($who, 'SELECT 1') for 1 .. 2; return join "\n", delete($told{$who}) =~ /with payload "(.*?)" received/g; }

does($alice, q{LISTEN chat_alice; SELECT enter('alice', 'kitchen') \g /dev/null});
does($bob, q{LISTEN chat_bob; SELECT enter('bob', 'kitchen') \g /dev/null});
does($bob, q{SELECT say('bob', 'kitchen', 'Is there tea?') \g /dev/null});
my $said = "kitchen: alice comes in\nkitchen: bob comes in\nkitchen: bob says: Is there tea?";
is(hears($alice), $said, 'alice hears');
is(hears($bob), $said, 'bob hears the same');

does($alice, q{SELECT say('alice', 'garden', 'Nobody there?') \g /dev/null});
is(hears($bob), '', 'another room');

does($bob, q{SELECT say('bob', 'kitchen', NULL), say('bob', 'kitchen', 'Tea!') \g /dev/null});
$said = "kitchen: somebody dusts the room: P0001: bob says nothing\nkitchen: bob says: Tea!";
is(hears($alice), $said, 'a room fails, and goes on');
is(hears($bob), $said, 'for bob, too');
is($node->safe_psql('d', q{SELECT message, body, error FROM actorstore.dead_letter}), 'say|{"who": "bob", "text": null}|bob says nothing', 'the dead letter');
is($node->safe_psql('d', q{SELECT event, child_id, reason FROM actorstore.supervision_log WHERE event <> 'supervised'}),
	join("\n", map { "$_|kitchen|P0001: bob says nothing" } qw(exited restart restarted)), 'the log');

is($node->safe_psql('d', q{SELECT * FROM actorstore.group_members}) =~ tr/\n//, 1, 'both are in the room');
does($alice, q{SELECT go_home('alice') \g /dev/null});
like($node->safe_psql('d', q{SELECT * FROM actorstore.group_members}), qr/\Aroom kitchen\|person\|bob\|\w+\z/, 'alice has left it');
does($bob, q{SELECT leave('bob', 'kitchen') \g /dev/null});
does($bob, q{SELECT say('alice', 'kitchen', 'Hello?') \g /dev/null});
is(hears($bob) . hears($alice), '', 'nobody is there');
is($node->safe_psql('d', q{SELECT value FROM actorstore.get('room', 'kitchen')}) =~ tr/,//, 6, 'what the room remembers');

$_->quit foreach $alice, $bob;
$node->stop;
done_testing();
