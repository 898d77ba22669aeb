# Turns that are handled outside, in databases that share one worker: what is
# checked out outlives the time in which its database is not served, and who
# has asked is not left alone, nor is what he asked handled twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('outside_homes', settings => "actorstore.workers = 1\nmax_worker_processes = 16");
my $outside = "'actorstore.outside(jsonb, jsonb)'";
my $wait = patience() . ' s';

foreach my $database ('one', 'two')
{
	new_database_with_actors($node, $database);
	$node->safe_psql($database, qq{SELECT actorstore.create_type('out'), actorstore.set_handler('out', '*', $outside)});
}
sub turns { my ($database, $more) = @_; return map { [ split /\|/ ] } rows($node, $database, "SELECT turn_id, token, actor_id, jsonb_array_length(messages) FROM actorstore.checkout('test', '{out}'$more)"); }
sub served { my ($database, $by) = @_; return comes_true($node, $by, "EXISTS (SELECT FROM actorstore.stat_workers WHERE database = '$database')"); }

my $asker = ActorstoreTest::Session->new($node, 'one');
$asker->start(qq{SELECT actorstore.ask('out', 'a', 'm', NULL, '$wait')});
my ($asked) = turns('one', ", 1, '1 h', '$wait'");
is("$asked->[2] $asked->[3]", 'a 1', 'what is asked is checked out');
$node->safe_psql('one', q{SELECT actorstore.send('out', 'a', 'm'), actorstore.send('out', 'b', 'm')});
my ($open) = turns('one', ", 1, '1 h', '$wait'");
is($open->[2], 'b', 'another actor, too');
$node->safe_psql('two', q{SELECT actorstore.send('out', 'c', 'm')});
ok(served('two', 'one'), 'the worker goes to the other database');
is($asker->finish, 'ERROR:  57P01', 'who has asked is told that nobody knows what comes of it');
my ($other) = turns('two', ", 1, '1 h', '$wait'");
is($other->[2], 'c', 'turns are checked out there');
$node->safe_psql('two', "SELECT actorstore.complete($other->[0], $other->[1], '1')");
$node->safe_psql('one', "SELECT actorstore.complete($open->[0], $open->[1], '2')");
is($node->safe_psql('one', q{SELECT value FROM actorstore.get('out', 'b')}), '2', 'what is open is completed, served or not');
ok(served('one', 'two'), 'the worker comes back');
is(scalar(my @none = turns('one', ", 5, '1 h', '300 ms'")), 0, 'the turn that was open is open');
$node->safe_psql('one', "SELECT actorstore.complete($asked->[0], $asked->[1], '3')");
my ($next) = turns('one', ", 1, '1 h', '$wait'");
is("$next->[2] $next->[3]", 'a 1', 'and what waited behind it comes next');
$node->safe_psql('one', "SELECT actorstore.complete($next->[0], $next->[1])");
is($node->safe_psql('one', q{SELECT value, version FROM actorstore.get('out', 'a')}), '3|0', 'each was handled once');
ok(comes_true($node, 'one', '(SELECT used_cells = 0 FROM actorstore.stat_requests)'), 'no cell is left');

$node->stop;
done_testing();
