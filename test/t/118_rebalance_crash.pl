# Whoever dies while slots move, nothing is lost or doubled: kill -9 of the
# mover, of the giver or of the taker at each step (src/cluster/transit.h).  One
# of them at each, by turns; with ACTORSTORE_LONG=1 each of them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my @nodes = new_cluster('one', 'two', { faults => 1, settings => join "\n",
	'actorstore.resolver_interval = 100ms', 'actorstore.rebalance_batch = 64', 'max_worker_processes = 16', 'restart_after_crash = on' });
my ($one, $two) = @nodes;
my $weight = 100;
my @victims = ('mover', 'giver', 'taker');
my $turn = 0;

declare_loosely($one, 'd', 'thing');
$one->safe_psql('d', q{
	SELECT actorstore.create_type('mail');
	SELECT count(actorstore.insert('thing', i::text, jsonb_build_object('i', i))) FROM generate_series(1, 500) AS i;
	SELECT actorstore.pause('mail', i::text) FROM generate_series(1, 50) AS i;
	SELECT actorstore.send('mail', (i % 50 + 1)::text, 'm' || i) FROM generate_series(1, 300) AS i;
});

sub everything
{
	return join "\n", sort map {
		rows($_, 'd', q{SELECT actor_type || actor_id || value::text || version FROM actorstore.actor
			UNION ALL SELECT message_id || actor_id || message FROM actorstore.message
			UNION ALL SELECT actor_id || since FROM actorstore.halted})
	} @nodes;
}

sub number_of_messages { return eval join '+', map { $_->safe_psql('d', q{SELECT count(*) FROM actorstore.message}) } @nodes; }
sub mover { return $_[0]->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore mover'}) }

comes_true($_, 'd', 'NOT EXISTS (SELECT FROM actorstore.outbox)') foreach @nodes;	# what is for the other node is there
my $before = everything();
my $sent = 300;

# Slots have to move from one to two, then back, and so on.
foreach my $place (qw(move_announced move_drained move_copying move_copied move_waited move_frozen move_sent move_taken K4 K5 move_handed move_settled member_consented member_accepted move_given))
{
	foreach my $victim ($ENV{ACTORSTORE_LONG} ? @victims : $victims[ $turn++ % 3 ])
	{
		my ($giver, $taker) = $weight == 100 ? ($one, $two) : ($two, $one);

		unlink map { $giver->data_dir . "/fault.$place.$_" } qw(reached go);
		$weight = 160 - $weight;
		$taker->safe_psql('d', "SELECT actorstore.set_node_weight('one', $weight)");
		$giver->append_conf('postgresql.conf', "actorstore.fault = '$place:wait'");
		$giver->reload;
		$taker->safe_psql('d', q{SELECT FROM actorstore.rebalance(false)});
		reached($giver, $place);
		my $pid = mover($giver);
		$giver->append_conf('postgresql.conf', "actorstore.fault = ''");
		$giver->reload;
		if ($victim eq 'mover')
		{
			kill 'KILL', $pid;
			ok(is_up_without($giver, 'd', $pid), "$victim at $place: up again");
		}
		else
		{
			my $server = $victim eq 'giver' ? $giver : $taker;
			$server->stop('immediate');
			release($giver, $place) if $server == $taker;
			$server->start;
		}

		# what is sent meanwhile arrives as well
		$_->safe_psql('d', q{SELECT actorstore.send('mail', (i % 50 + 1)::text, 'more' || i) FROM generate_series(1, 20) AS i}) foreach @nodes;
		$sent += 40;
		ok(comes_true($_, 'd', q{NOT EXISTS (SELECT FROM actorstore.moves_now()) AND NOT EXISTS (SELECT FROM actorstore.transit) AND NOT EXISTS (SELECT FROM actorstore.outbox)}),
			"$victim at $place: all has moved, as " . $_->name . ' says') foreach @nodes, @nodes;
		my $after = join "\n", grep { !/more\d+$/ } split /\n/, everything();
		is($after, $before, "$victim at $place: all is there");
		my ($count, $until) = (0, time + patience());
		while (($count = number_of_messages()) != $sent && time < $until) { usleep(10_000) }	# what goes from one to the other while they are counted
		is($count, $sent, "$victim at $place: with what was sent meanwhile");
		is(join(' ', map { $_->safe_psql('d', sprintf q{SELECT count(*) FROM (SELECT actor_type, actor_id FROM actorstore.actor UNION ALL SELECT actor_type, actor_id FROM actorstore.message) AS a
			WHERE actorstore.locate(actor_type, actor_id) <> '%s'}, $_->name) } @nodes), '0 0', "$victim at $place: where it belongs");
	}
}

done_testing();
