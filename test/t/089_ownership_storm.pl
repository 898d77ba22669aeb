# Clients on all nodes write actors, messages, timers, groups and pauses of random
# names, some in transactions that are prepared or rolled back, while the
# weights of the nodes change all the time: in the end nothing stands on a node in
# the name of an actor of another one, and what was said to be written is there.
# ACTORSTORE_STORM_SECONDS and ACTORSTORE_STORM_SEED make it rage longer, or again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# the first write declares the type: a superuser's
use ActorstoreTest;
use Test::More;

my $seconds = $ENV{ACTORSTORE_STORM_SECONDS} || 6;
my $seed = $ENV{ACTORSTORE_STORM_SEED} || 1 + int rand 1e9;
srand $seed;
diag "seed $seed";

my @nodes = new_cluster('one', 'two', 'three', { settings => "actorstore.peer_timeout = 3s\n" });

# Few at a time, so that there are always slots that hold nothing; each is taken away again but for some.
my @kinds = (
	q{SELECT (actorstore.put('t', '%s', '1')).version}, q{SELECT (actorstore.insert('t', '%s', '1')).version}, q{SELECT actorstore.put_many('t', ARRAY['%s'], ARRAY['1'::jsonb])},
	q{SELECT actorstore.send('t', '%s', 'm') IS NULL}, q{SELECT actorstore.set_timer('t', '%s', 'n', 'm', after => '1 day')},
	q{SELECT actorstore.join_group('g', 't', '%s')}, q{SELECT actorstore.pause('t', '%s')}, q{BEGIN; SELECT (actorstore.put('t', '%s', '1')).version; SELECT pg_sleep(0.01); COMMIT},
	q{BEGIN; SELECT (actorstore.put('t', '%s', '1')).version; PREPARE TRANSACTION 'p%1$s'; SELECT pg_sleep(0.01); COMMIT PREPARED 'p%1$s'},
	q{BEGIN; SAVEPOINT a; SELECT (actorstore.put('t', '%s', '1')).version; ROLLBACK TO a; COMMIT});

my ($done, $refused, $changes, %odd, @written) = (0, 0, 0);
my @sessions = map { my $node = $_; map { ActorstoreTest::Session->new($node, 'd') } 1 .. 2 } @nodes;
my @changers = map { ActorstoreTest::Session->new($_, 'd') } @nodes[ 0, 1 ];
my @busy;
my $next = 0;

sub collect
{
	my ($session, $id, $what) = @_;
	my $answer = $session->finish;

	if ($answer !~ /ERROR/)
	{
		$done++;
		push @written, $id if defined $what && $what !~ /ROLLBACK/ && $what =~ /put|insert/;
	}
	elsif ($answer =~ /VA007|0A000|55P03|40001|55006|25P02|42704/) { $refused++; }
	else { $odd{$answer}++; }
	$session->query('ROLLBACK') if $answer =~ /ERROR/;
	return;
}

my $until = time + $seconds;
while (time < $until)
{
	my @running;

	foreach my $changer (@changers)
	{
		next if $busy[ $changer == $changers[0] ? 0 : 1 ] && !$changer->done;
		my $n = $changer == $changers[0] ? 0 : 1;
		if ($busy[$n]) { my $answer = $changer->finish; $changes++ if $answer eq ''; $odd{$answer}++ if $answer ne '' && $answer !~ /55P03|VA009|40001|55006/; }
		$changer->start(sprintf q{SELECT actorstore.set_node_weight('%s', %d)}, $nodes[int rand 3]->name, 1 + int rand 500);
		$busy[$n] = 1;
	}
	foreach my $session (@sessions)
	{
		my $kind = $kinds[int rand @kinds];
		my $id = ++$next;
		$session->start(sprintf $kind, $id);
		push @running, [ $session, $id, $kind ];
	}
	collect(@$_) foreach @running;
}
foreach my $n (0, 1)
{
	my $answer = $busy[$n] ? $changers[$n]->finish : '';
	$changes++ if $answer eq '';
}
diag "$changes changes of weight; $done times written, $refused times refused";
is(join('; ', sort keys %odd), '', 'whatever was refused was refused for a good reason');
ok($changes > 0 && $done > 0, 'weights changed, and actors were written');

# All come to one map.
$nodes[0]->safe_psql('d', q{SELECT actorstore.set_node_weight('one', 1000)});
my $actors = join ' UNION ALL ', map { "SELECT actor_type, actor_id FROM actorstore.$_" } qw(actor message timer dead_message group_member halted dedup);
my %found;
foreach my $node (@nodes)
{
	is($node->safe_psql('d', "SELECT string_agg(DISTINCT actor_id, ' ') FROM ($actors) AS a WHERE actorstore.locate(actor_type, actor_id) <> '" . $node->name . q{'}), '', 'nothing on ' . $node->name . ' that belongs elsewhere');
	$found{$_}++ foreach rows($node, 'd', 'SELECT actor_id FROM actorstore.actor');
}
is(join(' ', grep { !$found{$_} } @written), '', 'nothing is lost');
is(join(' ', grep { $found{$_} > 1 } keys %found), '', 'nor doubled');
$_->quit foreach (@sessions, @changers);
$_->stop foreach @nodes;
done_testing();
