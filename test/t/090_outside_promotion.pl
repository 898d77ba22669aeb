# Turns that are handled outside when a standby takes over that was behind: no
# turn gets the number and the token of one that the lost primary gave out, so
# a client that repeats its complete() ends nobody else's.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreCluster;
use ActorstoreTest;
use Test::More;

my $primary = new_node('primary', streaming => 1, settings => 'max_worker_processes = 16');
my $wait = patience() . ' s';
new_database_with_actors($primary, 'd');
$primary->safe_psql('d', q{SELECT actorstore.create_type('out'), actorstore.set_handler('out', '*', 'actorstore.outside(jsonb, jsonb)')});
$primary->safe_psql('d', q{SELECT actorstore.send('out', 'a' || i, 'm') FROM generate_series(1, 3) AS i});
$primary->backup('copy');
my $standby = standby_of($primary, 'copy', 'standby');

sub standby_of
{
	my ($node, $backup, $name) = @_;
	my $new = ActorstoreCluster->new($name);
	$new->init_from_backup($node, $backup, has_streaming => 1);
	$new->start;
	$node->wait_for_catchup($new);
	return $new;
}

# Three turns, one after the other: turn, token, actor.
sub three
{
	my ($node) = @_;
	return map { [ split /\|/, $node->safe_psql('d', "SELECT turn_id, token, actor_id FROM actorstore.checkout('test', '{out}', 1, '1 h', '$wait')") ] } 1 .. 3;
}
sub actors { return join ' ', sort map { $_->[2] } @_; }
sub complete
{
	my ($node, $state, @turns) = @_;
	my @answers;
	foreach my $turn (@turns)
	{
		my $failed = $node->psql('d', "\\set VERBOSITY sqlstate\nSELECT actorstore.complete($turn->[0], $turn->[1], '$state')", stderr => \my $error);
		push @answers, !$failed ? 'done' : $error =~ /VA006/ ? 'VA006' : $error;
	}
	return join ' ', @answers;
}
sub lowest { return (sort { $a <=> $b } map { @$_[0, 1] } @_)[0]; }
sub highest { return (sort { $b <=> $a } map { @$_[0, 1] } @_)[0]; }

# ---- A standby that has not heard of the block that the last turns' numbers are from ----

$standby->safe_psql('postgres', q{ALTER SYSTEM SET primary_conninfo = ''});
$standby->reload;
ok(comes_true($standby, 'd', 'NOT EXISTS (SELECT FROM pg_stat_wal_receiver)'), 'the standby hears no more');
$primary->restart;
my @lost = three($primary);
is(actors(@lost), 'a1 a2 a3', 'turns of the primary');
$primary->stop('immediate');
$standby->promote;
my @turns = three($standby);
is(actors(@turns), 'a1 a2 a3', 'the promoted standby gives them out again');
my %lost = map { $_ => 1 } map { @$_[0, 1] } @lost;
is(scalar(grep { $lost{$_} } map { @$_[0, 1] } @turns), 0, 'under no number and no token that was given before');
cmp_ok(lowest(@turns), '>', highest(@lost), 'but higher ones');
is(complete($standby, '"lost"', @lost), 'VA006 VA006 VA006', 'whoever had them has lost them');
is(complete($standby, '"new"', @turns), 'done done done', 'whoever has them completes them');
is($standby->safe_psql('d', q{SELECT string_agg(actor_id || value::text, ' ' ORDER BY actor_id) FROM actorstore.actor WHERE actor_type = 'out'}), 'a1"new" a2"new" a3"new"', 'each once');

# ---- The same server again, and a copy of it ----

$standby->safe_psql('d', q{SELECT actorstore.send('out', 'a' || i, 'm') FROM generate_series(1, 3) AS i});
$standby->stop('immediate');
$standby->start;
$standby->backup('copy');
my @after = three($standby);
cmp_ok(lowest(@after), '>', highest(@turns), 'after a crash numbers go on');
is($standby->safe_psql('d', 'SELECT timeline, era FROM actorstore.identity'), '2|1', 'in the same era');
my $copy = ActorstoreCluster->new('a_copy');
$copy->init_from_backup($standby, 'copy');
$copy->start;
is($copy->safe_psql('d', 'SELECT actorstore.unfence()'), 't', 'a copy');
my @there = three($copy);
is(actors(@there), 'a1 a2 a3', 'which gives out what it has');
cmp_ok(lowest(@there), '>', highest(@after), 'under numbers of its own');
is(complete($copy, '"lost"', @after), 'VA006 VA006 VA006', 'turns of the original are not known there');
is(complete($standby, '"new"', @after), 'done done done', 'but here');

$_->stop foreach $standby, $copy;
done_testing();
