# Prepared transactions: what has been written in one is nobody's to see until
# COMMIT PREPARED, holds its locks over a restart, and may be undone.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('prepared', settings => 'max_prepared_transactions = 10');
new_database($node, 'd');
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

$_->quit foreach $session, $other;
$node->stop;
done_testing();
