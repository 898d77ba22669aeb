# Nodes that are cut off from each other: two from each other, one from two
# others, in one direction only, again and again; batches that come twice.  Who is in a minority serves
# its own actors and changes nothing; what was sent meanwhile arrives once, in
# order, when they are together again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# the conninfos are made here
use ActorstoreTest;
use ActorstoreWire;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my %options = (settings => "max_prepared_transactions = 20\nmax_worker_processes = 16\nactorstore.heartbeat_interval = 200ms\nactorstore.heartbeat_pause = 1s\n"
	. "actorstore.resolver_interval = 100ms\nactorstore.peer_timeout = 60s\nactorstore.phase_two_timeout = 60s\n");
my @nodes = new_cluster('one', 'two', {%options});
my ($one, $two) = @nodes;
my $three;
wire_nodes(@nodes);
$one->safe_psql('d', q{SELECT actorstore.create_type('t', mailbox_limit => 1000000), actorstore.set_handler('t', 'add', 'public.collect(jsonb, jsonb)'), actorstore.create_type('account')});

sub becomes { my ($node, $of, $health) = @_; return comes_true($node, 'd', "(SELECT health FROM actorstore.stat_peers WHERE node_name = '" . $of->name . "') = '$health'"); }
sub epoch { my ($node) = @_; return $node->safe_psql('d', 'SELECT max(epoch) FROM actorstore.epoch'); }
sub all_up
{
	my ($name) = @_;
	my @not = map { my $node = $_; grep { $_ != $node && !becomes($node, $_, 'up') } @nodes } @nodes;
	is(scalar @not, 0, "$name: all hold all to be up");
	return;
}

# An actor of the type t on each node by its name, and its account.
my (%of, %account);
sub choose
{
	foreach my $node (@nodes)
	{
		my $name = $node->name;
		$of{$name} //= ($one->safe_psql('d', "SELECT min('a' || i) FROM generate_series(1, 300) AS i WHERE actorstore.locate('t', 'a' || i) = '$name'"));
		next if $account{$name};
		$account{$name} = $one->safe_psql('d', "SELECT min('b' || i) FROM generate_series(1, 300) AS i WHERE actorstore.locate('account', 'b' || i) = '$name'");
		$one->safe_psql('d', "SELECT actorstore.put('account', '$account{$name}', '1000')");
	}
	return;
}

# Number the messages from each node to each actor, and remember how far that went.
my %sent;
sub send_to
{
	my ($from, $to) = @_;
	my $way = $from->name . '-' . $to->name;
	my $n = ($sent{$way} // 0) + 1;
	my $state = sqlstate($from, 'd', "SELECT actorstore.send('t', '$of{ $to->name }', 'add', '[\"$way\", $n]')");
	$sent{$way} = $n if $state eq '00000';
	return $state;
}
sub all_arrived
{
	my ($name) = @_;
	foreach my $to (@nodes)
	{
		my $total = 0;
		my %expected = map { $_ => $sent{$_} } grep { /-\Q@{[ $to->name ]}\E$/ } keys %sent;
		$total += $_ foreach values %expected;
		my $actor = "SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$of{ $to->name }'";
		ok(comes_true($to, 'd', "coalesce((SELECT jsonb_array_length(($actor))), 0) >= $total"), "$name: all has arrived on " . $to->name);
		is($to->safe_psql('d', "SELECT x ->> 0, array_agg((x ->> 1)::int ORDER BY n) = array_agg(i::int ORDER BY n), count(*) FROM (SELECT x, n, row_number() OVER (PARTITION BY x ->> 0 ORDER BY n) AS i FROM jsonb_array_elements(($actor)) WITH ORDINALITY AS x (x, n)) AS y GROUP BY 1 ORDER BY 1"),
			join("\n", map { "$_|t|$expected{$_}" } sort keys %expected), "$name: once, and in order");
	}
	return;
}
sub settled { my ($name) = @_; ok(!(grep { !comes_true($_, 'd', q{NOT EXISTS (SELECT FROM pg_prepared_xacts) AND NOT EXISTS (SELECT FROM actorstore.in_doubt)}) } @nodes), "$name: nothing stays in doubt"); return; }
sub transfer
{
	my ($at, $from, $to, $amount) = @_;
	return sqlstate($at, 'd', "BEGIN; SELECT actorstore.update('account', '$account{ $from->name }', to_jsonb((SELECT value::int FROM actorstore.get_many('account', '{$account{ $from->name }}', 'update')) - $amount)),
		actorstore.update('account', '$account{ $to->name }', to_jsonb((SELECT value::int FROM actorstore.get_many('account', '{$account{ $to->name }}', 'update')) + $amount)); COMMIT");
}
sub sum { my ($at) = @_; my $accounts = join ',', values %account; return $at->safe_psql('d', "SELECT sum(value::int) FROM actorstore.get_many('account', '{$accounts}', 'share')"); }

# What a node does alone: its own actors, and nobody else's.
sub serves_its_own
{
	my ($node, @others) = @_;
	my $name = $node->name;
	is(sqlstate($node, 'd', "SELECT actorstore.put('account', '$account{$name}', (SELECT value FROM actorstore.get('account', '$account{$name}')))"), '00000', "$name writes what is its own");
	is(send_to($node, $node), '00000', "$name sends to its own");
	my $actor = "SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$of{$name}'";
	ok(comes_true($node, 'd', qq{(($actor) -> -1 ->> 1) = '$sent{"$name-$name"}'}), "$name handles it");
	foreach my $other (map { $_->name } @others)
	{
		is(sqlstate($node, 'd', "SELECT actorstore.$_"), '08006', "$name and an actor of $other: $_") foreach "get('account', '$account{$other}')", "put('account', '$account{$other}', '0')";
	}
	is(sqlstate($node, 'd', q{SELECT actorstore.get_all('account')}), '08006', "$name: nor are all seen");
	is(send_to($node, $_), '00000', "$name sends, for later, to " . $_->name) foreach @others;
	return;
}
sub changes_nothing
{
	my ($node) = @_;
	my $before = epoch($node);
	is(sqlstate($node, 'd', "SELECT actorstore.$_"), 'VA009', $node->name . " changes nothing: $_") foreach q{set_node_weight('one', 300)}, q{set_node_weight('two', 0)};
	is(epoch($node), $before, $node->name . ' has the epoch that it had');
	return;
}

# ---- Two nodes, cut from each other: neither changes anything (69) ----

choose();
all_up('two');
wire_between($one, $two, 'hole', 'both');
ok(becomes($one, $two, 'down') && becomes($two, $one, 'down'), 'two nodes: each holds the other one to be down');
serves_its_own($one, $two);
serves_its_own($two, $one);
changes_nothing($_) foreach @nodes;
wire_between($one, $two, 'pass');
all_up('two nodes together');
all_arrived('two nodes together');
is(epoch($one), epoch($two), 'of one epoch');
is(sqlstate($two, 'd', q{SELECT actorstore.set_node_weight('two', 90)}), '00000', 'which they change');

# ---- A batch comes twice (63) ----

my $twice = PostgreSQL::Test::Utils::tempdir_short() . '/twice';
wire(sprintf 'at one-two duplicate %s ["one-two", %d]', $twice, $sent{'one-two'} + 1);
send_to($one, $two) foreach 1 .. 5;
my $until = time + patience();
usleep(10_000) until -e $twice || time > $until;
ok(-e $twice, 'a batch has been sent twice');
all_arrived('a batch that comes twice');

# ---- Two and one: only the two change anything (68) ----

$three = new_node('three', %options);
new_database_with_actors($three, 'd');
$one->safe_psql('d', sprintf q{SELECT actorstore.add_node('three', $$%s$$)}, peer_conninfo($three, 'd'));
push @nodes, $three;
ok(comes_true($two, 'd', q{EXISTS (SELECT FROM actorstore.node WHERE node_name = 'three')}), 'a third node');
wire_nodes(@nodes);
choose();
all_up('three');
is(sum($three), 3000, 'three accounts');
wire_between($one, $_, 'hole', 'both') foreach $two, $three;
ok(becomes($one, $_, 'down'), 'one holds ' . $_->name . ' to be down') foreach $two, $three;
ok(becomes($_, $one, 'down'), $_->name . ' holds one to be down') foreach $two, $three;
serves_its_own($one, $two, $three);
changes_nothing($one);
my $before = epoch($two);
is(transfer($two, $three, $two, 7), '00000', 'transactions of the two');
is(transfer($two, $one, $two, 7), '08006', 'not with the third one');
is(send_to($two, $_), '00000', 'two sends to ' . $_->name) foreach @nodes;
is(sqlstate($two, 'd', q{SELECT actorstore.set_node_weight('two', 0)}), '00000', 'the two change the map');
ok(comes_true($three, 'd', "(SELECT max(epoch) FROM actorstore.epoch) > $before"), 'both of them');
wire_nodes(@nodes);
is(epoch($one), $before, 'the one goes on with the old one');
serves_its_own($one, $two, $three);
wire_between($one, $_, 'pass') foreach $two, $three;
ok(comes_true($one, 'd', '(SELECT max(epoch) FROM actorstore.epoch) >= ' . epoch($two)), 'and hears of the new one, together again');
wire_nodes(@nodes);
all_up('three together');
all_arrived('three together');
settled('three together');
is(sum($_), 3000, 'nothing is lost, seen from ' . $_->name) foreach @nodes;
is(scalar(grep { $_->safe_psql('d', q{SELECT string_agg(node_name, ',' ORDER BY slot) FROM actorstore.placement}) eq $one->safe_psql('d', q{SELECT string_agg(node_name, ',' ORDER BY slot) FROM actorstore.placement}) } @nodes), 3, 'all have the same map');

# ---- All cut from each other ----

wire_between(@$_, 'cut') foreach [ $one, $two ], [ $one, $three ], [ $two, $three ];
foreach my $node (@nodes) { ok(becomes($node, $_, 'down'), 'each alone: ' . $node->name . ' holds ' . $_->name . ' to be down') foreach grep { $_ != $node } @nodes; }
changes_nothing($_) foreach @nodes;
wire_between(@$_, 'pass') foreach [ $one, $two ], [ $one, $three ], [ $two, $three ];
all_up('each alone, and together again');

# ---- In one direction only: nobody is held to be down (70) ----

my %log = map { $_->name => -s $_->logfile } @nodes;
wire('hole one-two there');		# what one says to two is lost, whoever has called whom
wire('hole two-one back');
ok(becomes($one, $two, 'suspect') && becomes($two, $one, 'suspect'), 'one direction is cut: each suspects the other one');
my $heard = $three->safe_psql('d', q{SELECT min(heartbeats_answered) FROM actorstore.stat_peers});
ok(comes_true($three, 'd', "(SELECT min(heartbeats_answered) FROM actorstore.stat_peers) > $heard + 15"), 'for a while');
is(send_to($one, $two), '00000', 'one sends to two');
is(scalar(grep { slurp_file($_->logfile, $log{ $_->name }) =~ /is down/ } @nodes), 0, 'nobody holds anybody to be down, as the third one speaks to both');
is(sqlstate($three, 'd', q{SELECT actorstore.set_node_weight('three', 110)}), '00000', 'who reaches both changes the map');
ok(!(grep { !comes_true($_, 'd', '(SELECT max(epoch) FROM actorstore.epoch) >= ' . epoch($three)) } @nodes), 'for all');
wire('pass one-two');
wire('pass two-one');
wire_nodes(@nodes);
all_up('the direction is there again');
all_arrived('the direction is there again');

# ---- Again and again ----

my $seed = $ENV{SEED} // time;
note "SEED=$seed";
srand $seed;
my @links = map { my $from = $_; map { $from->name . '-' . $_->name } grep { $_ != $from } @nodes } @nodes;
my $committed = 0;
for my $round (1 .. 25)
{
	my $link = $links[ rand @links ];
	wire((('cut %s', 'hole %s there', 'hole %s back', 'hole %s both', 'delay %s 30', 'throttle %s 20000')[ rand 6 ]) =~ s/%s/$link/r);
	foreach my $from (@nodes) { send_to($from, $_) foreach @nodes; }
	my ($at, $from, $to) = map { $nodes[ rand @nodes ] } 1 .. 3;
	# what waits for an answer through a hole is given up
	$at->psql('d', "SET statement_timeout = '300ms'; SET actorstore.peer_timeout = '300ms'; SET actorstore.phase_two_timeout = '300ms'; BEGIN; SELECT actorstore.update('account', '$account{ $from->name }', to_jsonb((SELECT value::int FROM actorstore.get_many('account', '{$account{ $from->name }}', 'update')) - $round)),
		actorstore.update('account', '$account{ $to->name }', to_jsonb((SELECT value::int FROM actorstore.get_many('account', '{$account{ $to->name }}', 'update')) + $round)); COMMIT") if $from != $to;
	wire("pass $link") if rand() < 0.7;
}
wire("pass $_") foreach @links;
all_up('again and again');
all_arrived('again and again');
settled('again and again');
is(sum($_), 3000, 'again and again: nothing is lost, seen from ' . $_->name) foreach @nodes;
ok(comes_true($_, 'd', 'NOT EXISTS (SELECT FROM actorstore.outbox)'), 'again and again: nothing is left on ' . $_->name) foreach @nodes;

$_->stop foreach @nodes;
done_testing();
