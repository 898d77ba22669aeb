# examples/top, looked at twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use ActorstoreTest;
use IPC::Run;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('top', settings => "actorstore.workers = 2\nfsync = off");

sub sql { return $node->safe_psql('d', $_[0]); }

new_database_with_actors($node, 'd');
sql(q{
	CREATE FUNCTION fail(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'failed'; END $$;
	SELECT actorstore.create_type(name, max_attempts => 1) FROM unnest('{busy,idle,secret}'::text[]) AS name;
	SELECT actorstore.set_handler('busy', name, ('public.' || name || '(jsonb, jsonb)')::regprocedure) FROM unnest('{fail,collect}'::text[]) AS name;
	SELECT actorstore.pause('idle');
	SELECT actorstore.send('idle', 'a', 'collect', '1') FROM generate_series(1, 4);
	SELECT actorstore.send('idle', 'a', 'collect', '1', delay => '1 hour') FROM generate_series(1, 2);
	CREATE ROLE looker LOGIN;
	SELECT actorstore.grant_type(name, 'looker', ARRAY['read']) FROM unnest('{busy,idle}'::text[]) AS name;
});

ok(comes_true($node, 'd', q{(SELECT count(*) = 2 FROM actorstore.stat_workers WHERE database = 'd')}), 'two workers');

my ($in, $out, $err) = ('', '', '');
my $psql = IPC::Run::start(
	[ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-v', 'plain=on', '-v', 'seconds=1', '-U', 'looker', '-d', $node->connstr('d'), '-f', "$FindBin::RealBin/../../examples/top/top.sql" ],
	'<', \$in, '>', \$out, '2>', \$err);
END { $psql->kill_kill if $psql; }

# The lines of the n-th screen: type => [ columns ].
sub screen
{
	my ($n) = @_;
	my $until = time + patience();
	my @screens;

	# complete when the next one has begun
	until ((@screens = split /^.*\(every 1s\)\n/m, $out) > $n + 1)
	{
		die "no screen: $out$err" if time > $until || !$psql->pumpable;
		$psql->pump_nb;
		usleep(50_000);
	}
	my ($head, $rule, @lines) = grep { /\S/ } split /\n/, $screens[$n];
	return map { my @columns = map { s/^\s+|\s+$//gr } split /\|/, $_, -1; (shift(@columns) => \@columns) } $head, @lines;
}

my %first = screen(1);
is_deeply($first{type}, [ 'waiting', 'for a time', 'oldest', 'handled/s', 'asked/s', 'failed/s', 'dead', 'wait p99 ms', 'turn p99 ms', 'ask p99 ms' ], 'columns');
is_deeply([ sort grep { !/^type$|workers/ } keys %first ], [ 'busy', 'idle' ], 'the types that one may read');
is_deeply([ @{ $first{idle} }[ 0, 1, 3 .. 6 ] ], [ 6, 2, '', '', '', 0 ], 'idle: what waits; no rates yet');
like($first{idle}[2], qr/^00:\d\d:\d\d$/, 'since when');
my ($all) = grep { /workers/ } keys %first;
like($all, qr/^\d of 2 workers awake$/, 'workers');
is_deeply([ @{ $first{$all} }[ 0, 1 ] ], [ 6, 2 ], 'all together');

# Then a screen shows what has happened since the one before; all of them together show it once.
my $before = split /^.*\(every 1s\)\n/m, $out;
sql(q{SELECT actorstore.send('busy', (i % 5)::text, 'collect', '1') FROM generate_series(1, 5000) AS i; SELECT actorstore.send('busy', 'f', 'fail') FROM generate_series(1, 30)});
sql(q{SELECT actorstore.ask('busy', 'a', 'collect', '1', timeout => '1 min') FROM generate_series(1, 200)});
ok(handled($node, 'd', 'busy'), 'busy');
my ($handled, $asked, $failed, $n) = (0, 0, 0, $before - 1);
my %last;
my $until = time + patience();
do
{
	%last = screen($n++);
	$handled ||= ($last{busy}[3] || 0) + 0;
	$asked ||= ($last{busy}[4] || 0) + 0;
	$failed ||= ($last{busy}[5] || 0) + 0;
} until ($handled > 0 && $asked > 0 && $failed > 0 && $last{busy}[6] == 30) || time > $until;
cmp_ok($handled, '>', 0, 'messages handled a second');
cmp_ok($asked, '>', 0, 'questions a second');
cmp_ok($failed, '>', 0, 'failures a second');
is_deeply([ @{ $last{busy} }[ 0, 1, 2, 6 ] ], [ 0, 0, '', 30 ], 'nothing waits, thirty have died');
is((grep { $_ !~ /^\d+\.\d+$/ } @{ $last{busy} }[ 7 .. 9 ]), 0, 'percentiles');
is($err, '', 'nothing else is said');

$psql->signal('INT');
$psql->kill_kill;
undef $psql;
$node->stop;
done_testing();
