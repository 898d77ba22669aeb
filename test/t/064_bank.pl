# examples/bank, run as it says, in a database of its own and where the extension is already.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('bank', settings => "actorstore.workers = 2\nfsync = off");
new_database_with_actors($node, 'd');

my ($status, $stdout, $stderr) = $node->psql('d', undef, extra_params => [ '-f', "$FindBin::RealBin/../../examples/bank/bank.sql" ]);
is($status, 0, 'bank.sql runs');
unlike($stderr, qr/ERROR|WARNING/, 'without complaints');
like($stdout, qr/^20,000 transfers$/m, 'says what it does');

# accounts, money, poorest, refused, transferred, differ_from_ledger
my ($accounts, $money, $poorest, $refused, $transferred, $differ) = $stdout =~ /^(\d+)\|(\d+)\|(\d+)\|(\d+)\|(\d+)\|(\d+)$/m;
is("$accounts $money", '1000 1000000', 'and has all the money in the end') or diag($stdout);
is($refused + $transferred, 20000, 'each transfer was made, or refused');
cmp_ok($transferred, '>', 10000, 'most were made');
is($differ, 0, 'the ledger agrees with each account');

# What it says is so.
is($node->safe_psql('d', q{SELECT sum((value->>'balance')::int), min((value->>'balance')::int) FROM actorstore.get_all('account')}), "1000000|$poorest", 'so say the actors');
is($node->safe_psql('d', q{SELECT count(*), count(DISTINCT transfer), sum(amount) FROM ledger WHERE transfer IN (SELECT transfer FROM ledger WHERE amount < 0)}),
	2 * $transferred . "|$transferred|0", 'a transfer has two lines that cancel each other out');
is($node->safe_psql('d', q{SELECT reason, error, count(*) FROM actorstore.dead_letter GROUP BY 1, 2}), $refused ? "rejected|not enough money|$refused" : '', 'what was refused says why');
$node->stop;
done_testing();
