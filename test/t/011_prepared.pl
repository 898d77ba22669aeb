# Prepared transactions: what has been written in one is nobody's to see until
# COMMIT PREPARED, holds its locks over a restart, and may be undone.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('prepared', settings => 'max_prepared_transactions = 10');
new_database_with_actors($node, 'd');
$node->safe_psql('d', q{
	SELECT actorstore.create_type('acct');
	SELECT actorstore.put_many('acct', '{a,b,c}', '{0,0,0}'), actorstore.put_many('loose', '{a,b}', '{0,0}')});
my ($session, $other) = map { ActorstoreTest::Session->new($node, 'd') } 1 .. 2;
my $actors = q{SELECT actor_type, actor_id, value, version FROM actorstore.actor ORDER BY 1, 2};
my $before = $other->query($actors);
is($before, "acct|a|0|0\nacct|b|0|0\nacct|c|0|0\nloose|a|0|0\nloose|b|0|0", 'actors');

# State.
my @writes = (
	'BEGIN', q{SELECT actorstore.update('acct', 'a', '1')}, q{SELECT actorstore.insert('acct', 'd', '1')}, q{SELECT actorstore.delete('acct', 'b')},
	q{SELECT actorstore.put_many('loose', '{b,c}', '{1,1}')}, q{SELECT actorstore.compare_and_swap('acct', 'a', 1, '2')}, q{SELECT actorstore.insert('first', 'a', '1')},
	q{PREPARE TRANSACTION 'state'});
is(join('', grep { /ERROR/ } map { $session->query($_) } @writes), '', 'written and prepared');
is($other->query($actors), $before, 'not seen');
is($other->query(q{SET lock_timeout = '10ms'; SELECT actorstore.update('acct', 'a', '9')}), 'ERROR:  55P03', 'locked');
is($other->query(q{SELECT actorstore.put('acct', 'd', '9')}), 'ERROR:  55P03', 'also what it makes');
is($other->query(q{SELECT version FROM actorstore.update('acct', 'c', '9')}), '1', 'the rest is not');
$_->quit foreach $session, $other;
$node->stop('immediate');
$node->start;
($session, $other) = map { ActorstoreTest::Session->new($node, 'd') } 1 .. 2;
is($other->query(q{SET lock_timeout = '10ms'; SELECT actorstore.update('acct', 'a', '9')}), 'ERROR:  55P03', 'locked after a crash, too');
$other->query('RESET lock_timeout');
$session->start(q{SELECT version FROM actorstore.update('acct', 'a', '3')});
ok($session->blocked($other), 'somebody waits');
is($other->query(q{COMMIT PREPARED 'state'}), '', 'committed');
is($session->finish, '3', 'and goes on from what was committed');
is($other->query($actors), "acct|a|3|3\nacct|c|9|1\nacct|d|1|0\nfirst|a|1|0\nloose|a|0|0\nloose|b|1|1\nloose|c|1|0", 'all of it is there');

# Undone.
$session->query($_) foreach 'BEGIN', q{SELECT actorstore.update('acct', 'a', '99')}, q{SELECT actorstore.delete('acct', 'd')}, q{PREPARE TRANSACTION 'undone'};
is($session->query(q{ROLLBACK PREPARED 'undone'}), '', 'rolled back');
is($other->query($actors), "acct|a|3|3\nacct|c|9|1\nacct|d|1|0\nfirst|a|1|0\nloose|a|0|0\nloose|b|1|1\nloose|c|1|0", 'nothing of it');
is($session->query(q{SELECT version FROM actorstore.update('acct', 'a', '4')}), '4', 'and the actor is free');

# Types: other sessions see them once they are committed.
is($other->query(q{SELECT actorstore.get('new', 'a') IS NULL, (actorstore.get('loose', 'b')).value}), 't|1', 'before');
$session->query($_) foreach 'BEGIN', q{SELECT actorstore.create_type('new')}, q{SELECT actorstore.insert('new', 'a', '1')}, q{SELECT actorstore.create_type('loose')},
  q{SELECT actorstore.drop_type('first')}, q{PREPARE TRANSACTION 'types'};
is($other->query(q{SELECT actorstore.get('new', 'a') IS NULL}), 't', 'not seen while prepared');
is($session->query(q{SELECT actorstore.get('new', 'a') IS NULL}), 't', 'nor by who prepared it');
is($other->query(q{COMMIT PREPARED 'types'}), '', 'committed by another');
foreach my $who ($session, $other)
{
	is($who->query(q{SELECT value FROM actorstore.get('new', 'a')}), '1', 'the new type');
	is($who->query(q{SELECT value FROM actorstore.get('loose', 'b')}), '1', 'the one that moved');
	is($who->query(q{SELECT actorstore.update('first', 'a', '2')}), 'ERROR:  42704', 'the one that was dropped');
}
is($session->query(q{SELECT tableoid::regclass, count(*) FROM actorstore.actor GROUP BY 1 ORDER BY 1::text DESC}) =~ tr/\n//, 2, 'three partitions with actors');

# Messages: where nothing was sent nobody has to look; an id that is used
# again may stand for anything.
$other->query($_) foreach q{SELECT actorstore.create_type('told')}, q{CREATE FUNCTION count_up(state jsonb, body jsonb) RETURNS jsonb RETURN to_jsonb(coalesce(state::int, 0) + 1)},
  q{SELECT actorstore.set_handler('told', '*', 'count_up(jsonb, jsonb)')};
is($other->query(q{SELECT actorstore.ask('told', 'a', 'm')}), '1', 'actors are served');
ok(comes_true($node, 'd', '(SELECT sweeps > 0 FROM actorstore.stat_scheduler)'), 'everything was looked through once');
sub sweeps { return $other->query('SELECT sweeps FROM actorstore.stat_scheduler'); }
sub in_prepared { my ($gid, @sql) = @_; return grep { /ERROR/ } map { $session->query($_) } 'BEGIN', @sql, "PREPARE TRANSACTION '$gid'"; }
my $told = 1;
my $quiet = 0;	# now and then everything is looked through anyway
foreach my $gid ('again', 'again', 'other')
{
	my $sweeps = sweeps();
	in_prepared($gid, q{SELECT actorstore.put('acct', 'a', '5')});
	is($other->query("COMMIT PREPARED '$gid'"), '', 'without a message');
	in_prepared($gid, q{SELECT actorstore.put('acct', 'a', '6')});
	is($other->query("ROLLBACK PREPARED '$gid'"), '', 'undone');
	is($other->query(q{SELECT actorstore.ask('told', 'a', 'm')}), ++$told, 'workers were awake');
	$quiet++ if sweeps() == $sweeps;
	in_prepared($gid, q{SELECT actorstore.put('acct', 'a', '7')}, q{SAVEPOINT s}, q{SELECT actorstore.send('told', 'a', 'm')}, q{RELEASE s});
	is($other->query("COMMIT PREPARED '$gid'"), '', 'with one, under the same id');
	$told++;
	ok(comes_true($node, 'd', "(SELECT value = '$told' FROM actorstore.get('told', 'a'))") && sweeps() > $sweeps, 'which is found');
}
ok($quiet > 0, 'nothing was looked through where nothing was sent');
is(join('', in_prepared('taken', q{SELECT actorstore.send('told', 'a', 'm')}), in_prepared('taken', 'SELECT 1')), 'ERROR:  42710', 'an id that is taken');
is($other->query(q{COMMIT PREPARED 'taken'}), '', 'stays what it was');
$told++;
ok(comes_true($node, 'd', "(SELECT value = '$told' FROM actorstore.get('told', 'a'))"), 'handled');
in_prepared('silent', q{SELECT actorstore.put('acct', 'a', '8')});
in_prepared('sending', q{SELECT actorstore.send('told', 'a', 'm')});
$_->quit foreach $session, $other;
$node->stop('immediate');
$node->start;
$node->safe_psql('d', "COMMIT PREPARED '$_'") foreach 'silent', 'sending';
$told++;
ok(comes_true($node, 'd', "(SELECT value = '$told' FROM actorstore.get('told', 'a'))"), 'after a crash nothing is known, and nothing lost');

# Another node's sessions look at the map of slots first, without a snapshot, and it may be stored out of line.
$node->safe_psql('d', q{SELECT actorstore.init_node('prepared');
	ALTER TABLE actorstore.epoch ALTER owners SET STORAGE EXTERNAL; UPDATE actorstore.epoch SET owners = owners || '{}'});
cmp_ok($node->safe_psql('d', 'SELECT pg_column_size(owners) FROM actorstore.epoch'), '>', 8192, 'a map that no page has room for');
$node->safe_psql('d', q{BEGIN; SELECT actorstore.put('acct', 'a', '10'); PREPARE TRANSACTION 'theirs'});
{
	local $ENV{PGOPTIONS} = '-c actorstore.coordinator=1.1.00000000-0000-0000-0000-000000000000';
	$node->safe_psql('d', q{COMMIT PREPARED 'theirs'});
}
is($node->safe_psql('d', q{SELECT value FROM actorstore.get('acct', 'a')}), '10', 'is read by COMMIT PREPARED');

$node->stop;
done_testing();
