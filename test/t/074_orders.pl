# examples/orders: the shop is killed again and again while payments are under
# way, and the server restarts; in the end each order that is paid has been
# charged once, and no other.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

plan skip_all => 'ACTORSTORE_WITHOUT_NPM is set: the client for Node.js was not tried' if $ENV{ACTORSTORE_WITHOUT_NPM};

my $orders = 150;
my $root = "$FindBin::RealBin/../..";
my $home = PostgreSQL::Test::Utils::tempdir;
my $ledger = "$home/ledger";

my $node = new_node('shop', streaming => 'logical', plugins => 'actorstore', settings => 'actorstore.workers = 2');
new_database_with_actors($node, 'd');
@ENV{qw(PGHOST PGPORT PGDATABASE PGUSER)} = ($node->host, $node->port, 'd', $node->safe_psql('d', 'SELECT current_user'));

PostgreSQL::Test::Utils::system_or_bail('cp', '-R', map({ "$root/examples/orders/$_" } qw(package.json tsconfig.json src)), $home);
PostgreSQL::Test::Utils::system_or_bail("$root/scripts/node-home", $home);
my $compiler = '';
ok(IPC::Run::run([ 'node', "$home/node_modules/typescript/bin/tsc", '-p', $home ], '>&', \$compiler), 'it compiles') or diag($compiler);

my $port = '';
my $service = IPC::Run::start([ 'node', "$home/dist/service.js", $ledger, 100 ], '<', '/dev/null', '>', \$port, '2>&1');
$service->pump until $port =~ /\n/ || !$service->pumpable;
like($port, qr/^\d+\n$/, 'the payment service listens');
chomp($port);
$ENV{PAYMENTS_URL} = "http://127.0.0.1:$port";
$ENV{UNPAID} = 2;

my ($output, $errors) = ('', '');
sub start_shop { return IPC::Run::start([ 'node', "$home/dist/main.js", $orders ], '<', '/dev/null', '>', \$output, '2>', \$errors); }
sub charged { return -e $ledger ? slurp_file($ledger) =~ tr/\n// : 0; }

# Wait for so many payments.
sub paid_at_least
{
	my ($shop, $wanted) = @_;
	my $until = time + ActorstoreTest::patience();

	until (charged() >= $wanted)
	{
		$shop->pump_nb;
		die "no payments: $output$errors" if time > $until || !$shop->pumpable;
		usleep(5_000);
	}
	return;
}

foreach my $kill (1 .. 3)
{
	my $shop = start_shop();
	paid_at_least($shop, charged() + 20);
	$shop->signal('KILL');
	$shop->finish;
}
my $last = start_shop();
paid_at_least($last, charged() + 10);
$node->restart;
ok($last->finish, 'the last one comes to an end') or diag("$output$errors");
is($errors, '', 'without complaints');
like($output, qr/\ncancelled +\d+ +[\d.]+\ndeclined +\d+ +[\d.]+\npaid +\d+ +[\d.]+\n\z/, 'and says what has become of the orders');

IPC::Run::run([ 'node', '-e', q{fetch(process.env.PAYMENTS_URL + '/charges').then((r) => r.json()).then((all) => {
	for (const { key, amount, receipt, asked } of all.sort((a, b) => a.key < b.key ? -1 : 1)) console.log([key, amount, receipt, asked].join('|'));
})} ], '>', \my $charged);
my @charged = map { [ split /\|/ ] } split /\n/, $charged;
$service->signal('TERM');
$service->finish;

my @lines = map { /"key":"([^"]+)"/ } split /\n/, slurp_file($ledger);
my %lines;
$lines{$_}++ foreach @lines;
is(scalar(grep { $_ > 1 } values %lines), 0, 'no order is charged twice');
cmp_ok(scalar(@lines), '>=', 90, 'many are charged');
cmp_ok(scalar(grep { $_->[3] > 1 } @charged), '>=', 3, 'payments were asked for again, and not made again');

my $mine = join "\n", map { join '|', @$_[ 0, 1, 2 ] } @charged;
is($node->safe_psql('d', q{SELECT actor_id, value->>'amount', value->>'receipt' FROM actorstore.actor_order WHERE value->>'status' = 'paid' ORDER BY actor_id COLLATE "C"}),
	$mine, 'what is paid is what was charged, with its receipt');
is($node->safe_psql('d', q{SELECT id, amount, receipt FROM orders WHERE status = 'paid' ORDER BY id COLLATE "C"}), $mine, 'the table says the same');
is($node->safe_psql('d', q{SELECT count(*) FROM orders AS o JOIN actorstore.actor_order AS a ON a.actor_id = o.id AND a.value->>'status' = o.status}),
	$orders, 'of all orders');
is($node->safe_psql('d', q{SELECT count(*) FROM orders WHERE status = 'cancelled' AND substr(id, 3)::int % 5 = 0}), $orders / 5, 'who forgot to pay is cancelled');
is($node->safe_psql('d', q{SELECT count(*) FROM orders WHERE status = 'open'}), 0, 'nobody is forgotten');
is($node->safe_psql('d', 'SELECT count(*) FROM actorstore.dead_letter'), 0, 'no dead letter');

$node->stop;
done_testing();
