# examples/remote_actors, run on the second of three nodes as its README says.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

plan skip_all => 'it makes functions on all nodes, which log in as a superuser for that' if with_tls();

my @nodes = new_cluster('one', 'two', 'three', { settings => 'max_worker_processes = 16' });
my $two = $nodes[1];
my ($status, $said, $complaints) = $two->psql('d', undef, extra_params => [ '-f', "$FindBin::RealBin/../../examples/remote_actors/purses.sql" ]);
is($status, 0, 'it runs');
like($complaints, qr/\Apsql:\S+ ERROR:  bob has only 7 coins\nCONTEXT:  [^\n]*\z/, 'with the one error that it shows');

# Which node an actor lives on follows from its address and the nodes' numbers.
is($said, <<'END' =~ s/\n\z//r, 'and says');
Nine purses with ten coins each, wherever they live
9
one|ada cy eve gus ida
three|di fay hal
two|bob
bob lives here, on two, ada on one

State is read and written alike, here and there
0|{"coins": 10}
1|{"coins": 11}
f|1|{"coins": 11}
t|2
A transfer over two nodes
committed|{one}
One that is undone on both, after a savepoint, and one that is refused

All purses at one moment: ninety coins, whatever others do meanwhile
9|90
bob|ada|3
A message leaves with the transaction that sends it, and is handled where the purse lives
2
bob|1|{"coins": 7}
ada|4|{"coins": 18}
END
is($nodes[2]->safe_psql('d', q{SELECT actor_id, value FROM actorstore.get_many('purse', '{ada,bob}')}), qq{ada|{"coins": 18}\nbob|{"coins": 7}}, 'a third node sees the same');
is(join(' ', map { $_->safe_psql('d', 'SELECT count(*) FROM actorstore.actor_purse') } @nodes), '5 1 3', 'each purse is where it lives, and only there');

$_->stop foreach @nodes;
done_testing();
