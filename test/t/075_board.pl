# examples/board, in headless Chromium: what the page shows is what SQL says,
# after flights, deletions, and a restart of the server, without being loaded
# again.

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

my $root = "$FindBin::RealBin/../..";
my $home = PostgreSQL::Test::Utils::tempdir;

my $node = new_node('airports', streaming => 'logical', plugins => 'actorstore', settings => 'actorstore.workers = 2');
new_database_with_actors($node, 'd');
$node->safe_psql('d', 'DROP EXTENSION actorstore');
@ENV{qw(PGHOST PGPORT PGDATABASE PGUSER)} = ($node->host, $node->port, 'd', $node->safe_psql('d', 'SELECT current_user'));

# The demo's actors, without its flights.
my ($actors) = slurp_file("$root/examples/flights/load.sql") =~ /\A(.*?)^CREATE TABLE flight$/ms or die 'load.sql has changed';
$node->safe_psql('d', $actors);

# So many flights between airports of three letters, whose number is given.
sub fly
{
	my ($flights, $airports) = @_;
	my $name = sub { "translate(to_char(mod(i * $_[0] + 7, $airports), 'FM000'), '0123456789', 'ABCDEFGHIJ')" };

	$node->safe_psql('d', "SELECT actorstore.send_many('airport', array_agg(@{[$name->(31)]}), 'departure', array_agg(body)),
			actorstore.send_many('airport', array_agg(@{[$name->(17)]}), 'arrival', array_agg(body))
		FROM (SELECT i, jsonb_build_object('delay', mod(i * 13, 97) - 20) AS body FROM generate_series(1, $flights) AS i) AS f");
	handled($node, 'd', 'airport') or die 'flights are not handled';
	return;
}
fly(3000, 40);

PostgreSQL::Test::Utils::system_or_bail('cp', '-R', map({ "$root/examples/board/$_" } qw(package.json server.js board.js index.html board.css)), "$root/test/clients/browser.mjs", $home);
PostgreSQL::Test::Utils::system_or_bail("$root/scripts/node-home", $home);
my ($url, $complaints) = ('', '');
my $server = IPC::Run::start([ 'node', "$home/server.js" ], '<', '/dev/null', '>', \$url, '2>', \$complaints);
$server->pump until $url =~ /\n/ || !$server->pumpable;
like($url, qr{^http://127\.0\.0\.1:\d+/$}m, 'the board is served') or diag($complaints);
chomp($url);

my ($in, $out, $errors) = ('', '', '');
local $ENV{HOME} = $home;
my $browser = IPC::Run::start([ 'node', "$home/browser.mjs", $url, "$home/profile" ], '<', \$in, '>', \$out, '2>', \$errors);

# The value of an expression in the page.
sub page
{
	my ($expression) = @_;
	my $until = time + ActorstoreTest::patience();

	$in .= "$expression\n";
	until ($out =~ /\n/)
	{
		die "no answer from the page: $errors" if time > $until || !$browser->pumpable;
		$browser->pump_nb;
		usleep(5_000);
	}
	my ($answer) = $out =~ /\A(.*)\n\z/ or die "more than an answer: $out";
	$out = '';
	return $answer;
}

# Wait until the page shows something; returns what it shows in the end.
sub shows
{
	my ($expression, $wanted) = @_;
	my $until = time + ActorstoreTest::patience();
	my $shown;

	do { $shown = page($expression); usleep(20_000) if $shown ne $wanted; } until $shown eq $wanted || time > $until;
	return $shown;
}

my $tiles = q{JSON.stringify([...document.querySelectorAll('.airport')].map((tile) => [...tile.children].map((part) => part.textContent).join('|')))};
my $sums = q{['airports', 'flights'].map((id) => document.getElementById(id).value).join('|')};

sub is_shown
{
	my ($when) = @_;
	my $wanted = $node->safe_psql('d', q{SELECT to_json(coalesce(json_agg(concat_ws('|', actor_id,
			to_char(round((value->>'total_delay')::numeric / ((value->>'departures')::int + (value->>'arrivals')::int), 1), 'FM9990.0'),
			(value->>'departures') || ' dep, ' || (value->>'arrivals') || ' arr') ORDER BY actor_id), '[]')::text)
		FROM actorstore.actor_airport}) =~ s/\\", \\"/\\",\\"/gr;
	my $sum = $node->safe_psql('d', q{SELECT to_json(count(*) || '|' || coalesce(sum((value->>'departures')::int + (value->>'arrivals')::int), 0)) FROM actorstore.actor_airport});

	is(shows($tiles, $wanted), $wanted, "$when: each airport's tile");
	is(shows($sums, $sum), $sum, "$when: and their sum");
	return;
}

is_shown('at first');
is(page(q{document.getElementById('state').textContent}), '"live"', 'it says that it is live');
page(q{void (window.loaded = 'once')});

fly(2000, 60);
is_shown('after more flights');
$node->safe_psql('d', q{SELECT actorstore.delete('airport', actor_id) FROM actorstore.actor_airport WHERE actor_id LIKE '_B_'});
is_shown('after deletions');
$node->safe_psql('d', q{SELECT actorstore.put('airport', '<b onclick="x">&amp;', '{"departures": 1, "arrivals": 0, "total_delay": 90, "worst_delay": 90}')});
is_shown('with a name that is no name');
is(page(q{document.querySelectorAll('[onclick]').length}), 0, 'names are text');
$node->restart;
fly(500, 60);
is_shown('after a restart of the server');
is(page('window.loaded'), '"once"', 'without being loaded again');

page("PNG=$ENV{ACTORSTORE_BOARD_PNG}\n1") if $ENV{ACTORSTORE_BOARD_PNG};
# by word: a server that was started meanwhile has its input open, too
$in .= "quit\n";
$browser->finish;
is($errors, '', 'no complaints of the browser');
$server->signal('TERM');
ok($server->finish, 'the server of the page ends');
is($complaints, '', 'without complaints');
is($node->safe_psql('d', q{SELECT count(*) FROM pg_replication_slots}), 0, 'and leaves no slot');

$node->stop;
done_testing();
