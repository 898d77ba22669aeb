# Whatever is wrong with a call is wrong in the same words wherever the actor lives: all that takes actors, with arguments that
# are missing, empty, too long, below zero, without end or of another shape (ActorstoreArguments.pm), of this node's actors
# and of another one's.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreArguments;
use ActorstoreTest;
use Test::More;

my @nodes = new_cluster('one', 'two', { settings => 'actorstore.workers = 2' });
my ($one, $two) = @nodes;
foreach my $node (@nodes)
{
	prepare_attempts($node, 'd');
	$node->safe_psql('d', q{
		CREATE ROLE stranger;
		CREATE FUNCTION nothing(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN NULL::jsonb;
		CREATE FUNCTION attempt_it(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM actorstore.reply(to_jsonb(attempt(body #>> '{}'))); RETURN NULL; END $$});
}
$one->safe_psql('d', q{SELECT actorstore.create_type(t) FROM unnest('{t,inside}'::text[]) AS t;
	SELECT actorstore.set_handler('t', '*', 'nothing(jsonb, jsonb)'), actorstore.set_handler('inside', 'm', 'attempt_it(jsonb, jsonb)')});

# Names behind which the same number makes them all live on one node.
my @names = qw(a b c s new x y);
my %number;
foreach my $row (rows($one, 'd', sprintf q{SELECT min(actorstore.locate('t', name || i)), i FROM generate_series(1, 5000) AS i, unnest('{%s}'::text[]) AS name GROUP BY i HAVING count(DISTINCT actorstore.locate('t', name || i)) = 1 ORDER BY i}, join ',', @names))
{
	my ($owner, $number) = split /\|/, $row;
	$number{$owner} //= $number;
}
my ($handler) = rows($one, 'd', q{SELECT 'h' || i FROM generate_series(1, 100) AS i WHERE actorstore.locate('inside', 'h' || i) = 'one' LIMIT 1});
$one->safe_psql('d', sprintf q{SELECT actorstore.insert_many('t', '{a%1$s,b%1$s}', '{1,2}'), actorstore.supervise('t', 'a%1$s', 't', 'b%1$s'), actorstore.join_group('g', 't', 'a%1$s')}, $_) foreach values %number;
my $session = ActorstoreTest::Session->new($one, 'd');

# The call with actors of a node; and what was answered, without it.
sub of
{
	my ($owner, $call) = @_;
	my $either = join '|', @names;

	$call =~ s/(?<=\(')($either)(?='\)::text[,)])/$1$number{$owner}/g;
	$call =~ s/(?<=[{,])($either)(?=[,}])(?=[^']*'\)::text\[\])/$1$number{$owner}/g;
	return $call;
}
sub without { my ($owner, $answer) = @_; return $answer =~ s/\b((?:a|b|c|s|new|x|y))$number{$owner}\b/$1/gr; }
sub inside { my ($statement) = @_; return "SELECT actorstore.call('inside', '$handler', 'm', to_jsonb(\$in\$$statement\$in\$::text)) #>> '{}'"; }

sub compare
{
	my ($name, $functions, $wrap) = @_;
	my @calls = grep { $_->{name} =~ /^(?:$functions)$/ && "$_->{argument} $_->{value}" !~ /^timeout '(?:0|1 us|1 mon -31 days)'$/ } bad_calls($one, 'd');	# who gives it no time may be answered all the same
	my %answers = map { my $owner = $_; ($owner => [ map { without($owner, $_) } $wrap->(map { 'SELECT ' . of($owner, $_->{call}) } @calls) ]) } 'one', 'two';

	cmp_ok(scalar(@calls), '>', 10, "$name: some calls");
	is_deeply([ map { $answers{two}[$_] eq $answers{one}[$_] ? () : "$calls[$_]{call}: $answers{one}[$_], but $answers{two}[$_]" } 0 .. $#calls ], [], "$name: the same in both places");
	is_deeply([ map { $answers{two}[$_] =~ /^(?:XX|08|57|no)/ ? "$calls[$_]{call}: $answers{two}[$_]" : () } 0 .. $#calls ], [], "$name: nothing of the kind that does not belong there");
	cmp_ok(scalar(grep { !/^00000/ } @{ $answers{two} }), '>', 5, "$name: some are refused");
	return;
}

isnt($number{one}, $number{two}, 'two nodes');
like(of('two', q{actorstore.insert(('t')::text, ('new')::text, ('1')::jsonb)}), qr/\('t'\).*\('new$number{two}'\)/, 'actors of the other one');
compare('states', 'insert|get|get_many|update|update_versioned|compare_and_swap|put|patch|delete|delete_versioned|insert_many|put_many', sub { attempts($session, @_) });
compare('messages', 'send|send_many|ask|call|tell', sub { attempts($session, @_) });
compare('timers', 'set_timer|cancel_timer', sub { attempts($session, @_) });
compare('what is done with actors', 'pause|resume|redrive|join_group|leave_group|supervise|unsupervise', sub { attempts($session, @_) });
compare('lives', 'spawn|link|unlink|monitor|demonitor', sub { map { $session->query(inside($_)) } @_ });

$session->quit;
foreach my $node (@nodes)
{
	is($node->safe_psql('d', q{SELECT count(*), sum(version), count(DISTINCT value) FROM actorstore.actor WHERE actor_type = 't'}), '2|0|2', 'nothing has changed on ' . $node->name);
	ok(comes_true($node, 'd', 'NOT EXISTS (SELECT FROM pg_prepared_xacts) AND NOT EXISTS (SELECT FROM actorstore.outbox) AND NOT EXISTS (SELECT FROM actorstore.message)'), 'nor is anything under way');
}
$_->stop foreach @nodes;
done_testing();
