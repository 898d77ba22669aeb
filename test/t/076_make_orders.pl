# make orders, with fewer orders and in a cluster of its own: what it says, and
# what it leaves behind; once without the cluster, once with an earlier one's.

use strict;
use warnings;

use FindBin;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'ACTORSTORE_WITHOUT_NPM is set: the client for Node.js was not tried' if $ENV{ACTORSTORE_WITHOUT_NPM};

my $root = "$FindBin::RealBin/../..";
local @ENV{qw(DEMO_PREFIX UNPAID)} = ('shop_', 1);
delete @ENV{qw(MAKEFLAGS MAKELEVEL MFLAGS)};

my ($plan) = run_command([ 'make', '-n', '-C', $root, 'orders', 'ORDERS=40' ]);
like($plan, qr{\bprivate-server && scripts/as-user --owner scripts/npm-packages && scripts/as-user --owner examples/orders/run 40$}m,
	'what make orders runs');

# What the script's cluster says, through the environment that it prints.
sub ask_cluster
{
	my ($query) = @_;
	my ($answer, $complaints) = run_command([ 'bash', '-c',
		'eval "$(bash "$1/scripts/throwaway" shop_demo env)" && exec psql -X -A -t -d orders -c "$2"', 'bash', $root, $query ]);
	is($complaints, '', 'no complaints about a query');
	return $answer;
}

sub orders_run_well
{
	my ($orders) = @_;
	my ($said, $complaints) = ('', '');

	ok(IPC::Run::run([ "$root/examples/orders/run", $orders ], '<', '/dev/null', '>', \$said, '2>', \$complaints), "$orders orders: it ends well")
		or diag("$said$complaints");
	is($complaints, '', 'no complaints');

	my ($killed) = $said =~ /^actorstore: killed with (\d+) payments made; the shop goes on$/m;
	cmp_ok($killed // 0, '>=', $orders / 4, 'it was killed after some payments');
	is(() = $said =~ /^placing $orders orders$/mg, 2, 'and started again');

	my @charged = map { /"key":"([^"]+)"/ } split /\n/, slurp_file("$root/tmp/shop_orders/ledger");
	my %charged = map { $_ => 1 } @charged;
	my $charged = @charged;
	cmp_ok($charged, '>=', $killed // 0, 'payments are not forgotten');
	is(scalar(keys %charged), $charged, 'none was made twice');
	like($said, qr/^actorstore: $charged orders are paid; the payment service has charged $charged, and 0 of them twice\n\z/m, 'it says so');

	is(ask_cluster(q{SELECT string_agg(id, ' ' ORDER BY id COLLATE "C") FROM orders WHERE status = 'paid'}), join(' ', sort keys %charged),
		'paid is what was charged');
	is(ask_cluster(q{SELECT count(*), count(*) FILTER (WHERE status IN ('paid', 'declined', 'cancelled')) FROM orders}), "$orders|$orders",
		'each order has come to an end');
	is(ask_cluster(q{SELECT count(*) FROM orders AS o JOIN actorstore.actor_order AS a ON a.actor_id = o.id AND a.value->>'status' = o.status}),
		$orders, 'the table says what the actors say');
	is(ask_cluster(q{SELECT count(*) FROM orders WHERE status = 'cancelled' AND substr(id, 3)::int % 5 = 0}), int($orders / 5),
		'who forgot to pay is cancelled');
	return;
}

is(system('bash', "$root/scripts/throwaway", 'shop_demo', 'stop'), 0, 'nothing is left of an earlier test');
orders_run_well(40);
orders_run_well(20);

END
{
	my $status = $?;
	system('bash', "$root/scripts/throwaway", 'shop_demo', 'stop');
	system('rm', '-rf', "$root/tmp/shop_orders");
	$? = $status;
}
done_testing();
