# Seeds: a node that comes back when all others have moved finds them, and what they have decided meanwhile, through places
# that it is told of; a cluster in which everybody has moved finds itself.  A list that names the node itself, nobody,
# strangers, standbys, liars: what is believed, what is refused, counted and told, once.  A minority still changes nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# the conninfos are made here
use ActorstoreTest;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $settings = "actorstore.resolver_interval = 100ms\nactorstore.peer_timeout = 10s\nmax_worker_processes = 24\nmax_prepared_transactions = 10\nlisten_addresses = '127.0.0.1'";
my @nodes = new_cluster('one', 'two', 'three', { settings => $settings, streaming => 1 });
my ($one, $two, $three) = @nodes;

sub place { my ($node) = @_; return $node->host . ':' . $node->port; }
sub epoch { my ($node) = @_; return $node->safe_psql('d', 'SELECT max(epoch) FROM actorstore.epoch'); }
sub seeds { my ($node) = @_; return join ' ', rows($node, 'd', q{SELECT concat_ws('=', state, node_name) FROM actorstore.seed ORDER BY seed, address}); }
sub row { my ($node, $seed, $columns) = @_; return $node->safe_psql('d', "SELECT $columns FROM actorstore.seed WHERE seed = '$seed'"); }
sub detours { my ($node) = @_; return $node->safe_psql('d', q{SELECT coalesce(string_agg(node_name, ' ' ORDER BY node_number), '') FROM actorstore.node WHERE detour IS NOT NULL}); }
sub doctor { my ($node, $item) = @_; return $node->safe_psql('d', "SELECT concat_ws('|', ok, detail) FROM actorstore.doctor() WHERE item = '$item'"); }
sub all_answer { my ($node) = @_; return comes_true($node, 'd', '(SELECT bool_and((actorstore.node_check(node_name)).ok) FROM actorstore.node)'); }

# Set a list, and wait until it has been tried.
sub try
{
	my ($node, @list) = @_;
	my $list = join ', ', @list;
	my $before = $node->safe_psql('d', 'SELECT now()');

	$node->safe_psql('d', "ALTER SYSTEM SET actorstore.seeds = '$list'");
	$node->reload;
	return tried($node, $before, scalar @list);
}

sub tried
{
	my ($node, $before, $n) = @_;
	$before //= $node->safe_psql('d', 'SELECT now()');
	return comes_true($node, 'd', "(SELECT count(*) > 0 AND min(tried_at) > '$before'" . ($n ? " AND count(DISTINCT seed) = $n" : '') . ' FROM actorstore.seed)');
}

# The server goes on elsewhere; nobody is told.
sub move
{
	my ($node) = @_;

	$node->stop if -e $node->data_dir . '/postmaster.pid';
	$node->{_port} = PostgreSQL::Test::Cluster::get_free_port();
	$node->append_conf('postgresql.conf', 'port = ' . $node->port);
	return;
}

sub lines
{
	my ($node, $from, $pattern) = @_;
	my $n = () = slurp_file($node->logfile, $from) =~ /$pattern/g;
	return $n;
}

# ---- What is no list ----

foreach my $bad ('a b', 'one,', '::1', 'one:0', '[::1', 'srv:x', "one'' password=''x")
{
	my (undef, undef, $stderr) = $one->psql('d', "ALTER SYSTEM SET actorstore.seeds = '$bad'", extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($stderr, qr/22023: .*\n(?s:.*)DETAIL: .*\nHINT:  It is a list of/, "refused: $bad");
}
is(sqlstate($one, 'd', q{CREATE ROLE clerk; SET ROLE clerk; SHOW actorstore.seeds}), '42501', 'who is no superuser does not see it');

# ---- The node itself, the others, nobody ----

my $from = -s $one->logfile;
ok(try($one, place($one), '127.0.0.1:' . $one->port, place($two), 'localhost:' . $three->port, '127.0.0.1:1', 'nowhere.invalid', '/nowhere:5432'), 'a list is tried');
is(row($one, place($one), 'state, detail, refused'), 'self||0', 'itself, known by who it is');
is(row($one, '127.0.0.1:' . $one->port, 'state, address'), 'self|127.0.0.1:' . $one->port, 'by another address, too');
is(row($one, place($two), 'state, node_name, refused'), 'member|two|0', 'another member');
like(row($one, 'localhost:' . $three->port, 'state, node_name, address'), qr/^member\|three\|127\.0\.0\.1:\d+$/m, 'a name, of which each address is tried');
like(row($one, '127.0.0.1:1', 'state, detail'), qr/^unreachable\|.*refused/, 'nobody');
like(row($one, 'nowhere.invalid', 'state, address, detail'), qr/^unresolved\|\|.+/, 'a name that there is not');
like(row($one, '/nowhere:5432', 'state, detail'), qr/^unreachable\|.*nowhere/, 'a socket that there is not');
is(detours($one), '', 'all are where they should be');
like(doctor($one, 'seeds'), qr/^f\|of \d addresses 2 lead to other members, 2 here, 0 are refused, \d are out of reach, 1 are no addresses$/, 'the doctor sees it');
my $shown = $one->safe_psql('d', q{SELECT concat_ws(' ', count(*), min(refused), max(refused)) FROM actorstore.seed});
$one->restart;
ok(tried($one), 'once more, after a restart');
is($one->safe_psql('d', q{SELECT concat_ws(' ', count(*), min(refused), max(refused)) FROM actorstore.seed}), $shown, 'with the same outcome');
is(lines($one, $from, 'seed "nowhere.invalid" leads to no address'), 1, 'which is told once');
is(lines($one, $from, 'seed "127.0.0.1:1" is out of reach'), 1, 'of each');
is(lines($one, $from, 'seed "[^"]*:' . $one->port . '"'), 0, 'and of itself not at all');

ok(try($one, place($two), place($one)), 'a list that leads to others');
is(doctor($one, 'seeds'), 't|of 2 addresses 1 lead to other members, 1 here, 0 are refused, 0 are out of reach, 0 are no addresses', 'nothing is wrong with it');
ok(try($one, place($one)), 'a list that names nobody but itself');
is(seeds($one), 'self', 'does no harm');
is(doctor($one, 'seeds'), 'f|of 1 addresses 0 lead to other members, 1 here, 0 are refused, 0 are out of reach, 0 are no addresses', 'nor good');

# A member that has several hosts, of which the first one takes connections and says nothing, is where it should be.
my $directory = PostgreSQL::Test::Utils::tempdir_short();
my $silent = IO::Socket::UNIX->new(Local => "$directory/.s.PGSQL.1", Listen => 1000) or die "$!";
my $conninfo = $one->safe_psql('d', q{SELECT conninfo FROM actorstore.node WHERE node_name = 'two'});
my $change = q{UPDATE actorstore.node SET conninfo = $$%s$$ WHERE node_name = 'two'};
$one->safe_psql('d', sprintf $change, "dbname=d host=$directory," . $two->host . ' port=1,' . $two->port);
ok(try($one, place($two)), 'a list that leads to a member by another way');
is(row($one, place($two), 'state, node_name'), 'member|two', 'which it meets');
is(detours($one), '', 'but that is found by its second host');
$one->safe_psql('d', sprintf $change, $conninfo);
undef $silent;

my @many = ((map { "127.0.0.1:$_" } 1 .. 98), place($two), place($one));
ok(try($one, @many), 'a hundred seeds');
is($one->safe_psql('d', q{SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM actorstore.seed GROUP BY state) AS s}), 'member 1, self 1, unreachable 98', 'each is tried');

# ---- Strangers ----

my $other = new_node('other', settings => $settings);
new_database_with_actors($other, 'd');
$other->safe_psql('d', q{SELECT actorstore.init_node('two', 'service=two')});
my $plain = new_node('plain', settings => $settings);
$plain->safe_psql('postgres', 'CREATE DATABASE d TEMPLATE template0');
my $idle = new_node('idle', settings => $settings);
new_database($idle, 'd');
$two->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($two, 'copy', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'port = ' . $standby->port);
$standby->start;

# Servers that only look like a node: they say what they like.
my $liar = new_node('liar', settings => $settings);
sub lie
{
	my (%lies) = (uuid => '00000000-0000-4000-8000-000000000001', version => '1.0', epoch => 1000, members => '[]', incarnation => 1 << 40, @_);

	$liar->psql('postgres', 'DROP DATABASE IF EXISTS d WITH (FORCE)');
	$liar->safe_psql('postgres', "CREATE DATABASE d TEMPLATE template0 ENCODING 'UTF8'");
	$liar->safe_psql('d', qq{
		CREATE SCHEMA actorstore;
		CREATE FUNCTION actorstore.local_identity(OUT node_uuid uuid, OUT node_name text, OUT incarnation bigint, OUT extension_version text, OUT in_recovery boolean, OUT max_prepared_transactions int)
			LANGUAGE sql AS \$\$ SELECT '$lies{uuid}'::uuid, 'two'::text, $lies{incarnation}::bigint, '$lies{version}'::text, false, 10 \$\$;
		CREATE FUNCTION actorstore.local_epoch() RETURNS bigint LANGUAGE sql RETURN $lies{epoch};
		CREATE FUNCTION actorstore.local_in_force() RETURNS jsonb LANGUAGE sql
			RETURN '{"epoch": $lies{epoch}, "last_number": 3, "members": $lies{members}}'::jsonb;
	});
	return;
}

my $before = epoch($one);
lie();
$from = -s $one->logfile;
ok(try($one, map { place($_) } $other, $plain, $idle, $standby, $liar, $two), 'a list of strangers');
is(row($one, place($other), 'state, detail'), 'refused|It is no member that this node knows.', 'another cluster, by the same name');
is(row($one, place($plain), 'state, detail'), 'refused|Its database does not have the extension.', 'nothing');
is(row($one, place($idle), 'state, detail'), 'refused|It is no node, or is none any more.', 'no node');
like(row($one, place($standby), 'state, detail'), qr/^unreachable\|.*read-only/, 'a standby');
is(row($one, place($liar), 'state, detail'), 'refused|It is no member that this node knows.', 'a newer epoch of somebody');
is(row($one, place($two), 'state, node_name'), 'member|two', 'and one that is what it should be');
like(doctor($one, 'seeds'), qr/^f\|of 6 addresses 1 lead to other members, 0 here, 4 are refused, 1 are out of reach/, 'the doctor sees it');
my ($uuid) = $one->safe_psql('d', 'SELECT node_uuid FROM actorstore.node WHERE is_self');
my ($uuid_of_two) = $one->safe_psql('d', q{SELECT node_uuid FROM actorstore.node WHERE node_name = 'two'});
my %lies = (
	'one of another version' => [ 'It has version 9.9 of the extension.', version => '9.9' ],
	'one that says that this node is in its map' =>
	  [ 'It is no member that this node knows.', members => qq([{"node_uuid": "$uuid", "node_number": 1}, {"node_uuid": "00000000-0000-4000-8000-000000000001", "node_number": 2}]) ],
	'one that talks nonsense' => [ 'It is no member that this node knows.', members => '5' ],
	'an older incarnation of a member' => [ 'It is an older incarnation than the one known.', uuid => $uuid_of_two, incarnation => 1 ],
);
foreach my $name (sort keys %lies)
{
	my ($expected, @lies) = @{ $lies{$name} };
	lie(@lies);
	ok(try($one, place($liar)) && try($one, place($liar), place($two)), "tried: $name");
	is(row($one, place($liar), 'state, detail, refused > 1'), "refused|$expected|t", "$name: refused, and counted");
}
is(epoch($one), $before, 'nothing was learned');
is(detours($one), '', 'and nobody is sought elsewhere');
is(lines($one, $from, 'seed "' . quotemeta(place($other)) . '" is refused'), 1, 'each is told of once');
$_->stop('immediate') foreach $standby, $plain, $idle, $liar, $other;

# ---- All others have moved while a node was down, and one has come ----

my $four = new_node('four', settings => $settings);
new_database_with_actors($four, 'd');
ok(try($three, place($one)), 'node three has a seed');
$three->stop;
move($_) foreach $one, $two;
$_->start foreach $one, $two;
foreach my $node ($one, $two)
{
	$node->safe_psql('d', sprintf q{UPDATE actorstore.node SET conninfo = $$%s$$ WHERE node_name = '%s'}, $_->connstr('d'), $_->name) foreach $one, $two;
}
ok(comes_true($one, 'd', q{(actorstore.node_check('two')).ok}), 'the two others work together elsewhere');
$one->safe_psql('d', sprintf q{SELECT actorstore.add_node('four', $$%s$$)}, $four->connstr('d'));
$three->append_conf('postgresql.auto.conf', "actorstore.seeds = '" . join(', ', map { place($_) } $four, $one) . "'");
$from = -s $three->logfile;
$three->start;
ok(all_answer($three), 'a node that was down finds them, and one that came meanwhile');
is(epoch($three), epoch($one), 'and what was decided');
is(detours($three), '', 'where they are is part of that');
ok(comes_true($three, 'd', sprintf q{(SELECT state = 'member' AND node_name = 'four' FROM actorstore.seed WHERE seed = '%s')}, place($four)),
	'who came is a member, now that another one has told of it');
ok(lines($three, $from, 'epoch \d+ is in force: it was decided while this node was down') >= 1, 'the log says so');

# ---- The same, and nothing was decided ----

$three->stop;
move($_) foreach $one, $two;
$_->start foreach $one, $two;
foreach my $node ($one, $two, $four)
{
	$node->safe_psql('d', sprintf q{UPDATE actorstore.node SET conninfo = $$%s$$ WHERE node_name = '%s'}, $_->connstr('d'), $_->name) foreach $one, $two;
}
$three->append_conf('postgresql.auto.conf', "actorstore.seeds = '" . place($one) . "'");
$three->start;
ok(all_answer($three), 'a node finds those who have moved, one by its seed and one by what that knows');
is(detours($three), 'one two', 'as detours');
is(epoch($three), epoch($one), 'of its own: nothing is decided by that');
is(doctor($three, 'detours'), 'f|nodes are reached where their conninfo does not lead: one, two', 'the doctor says so');
$three->safe_psql('d', sprintf q{UPDATE actorstore.node SET conninfo = $$%s$$ WHERE node_name = '%s'}, $_->connstr('d'), $_->name) foreach $one, $two;
ok(try($three, place($one), place($two)), 'once the conninfos are right');
ok(comes_true($three, 'd', q{NOT EXISTS (SELECT FROM actorstore.node WHERE detour IS NOT NULL)}), 'the detours go');
is(doctor($three, 'detours'), '', 'and with them the warning');

# ---- Everybody has moved, and nobody knows ----

$one->safe_psql('d', q{SELECT actorstore.create_type('t')});
$before = epoch($one);
my @all = ($one, $two, $three, $four);
move($_) foreach @all;
my $list = join ', ', map { place($_) } @all;
$_->append_conf('postgresql.auto.conf', "actorstore.seeds = '$list'") foreach @all;
$_->start foreach $one, $two;
ok(comes_true($_, 'd', q{(SELECT count(*) = 2 FROM actorstore.node WHERE detour IS NOT NULL)}), 'two of four find each other') foreach $one, $two;
is(sqlstate($one, 'd', q{SELECT actorstore.set_node_weight('two', 50)}), 'VA009', 'which is no majority');
is(epoch($one), $before, 'and changes nothing');
$_->start foreach $three, $four;
ok(comes_true($_, 'd', q{(SELECT count(*) = 4 FROM actorstore.node WHERE detour IS NOT NULL)}) && all_answer($_), $_->name . ' finds all of them') foreach @all;
is(join(' ', map { epoch($_) } @all), join(' ', ($before) x 4), 'that changes no epoch');
is($one->safe_psql('d', q{SELECT sum((actorstore.put('t', 'a' || i, '1')).version) FROM generate_series(1, 20) AS i}), '0', 'a transaction over all of them');
is($two->safe_psql('d', q{SELECT count(*) FROM actorstore.get_all('t')}), '20', 'is seen from another one');
$three->safe_psql('d', q{SELECT actorstore.set_node_weight('four', 50)});
ok(comes_true($_, 'd', "(SELECT max(epoch) > $before FROM actorstore.epoch)"), $_->name . ' knows what the majority decides') foreach @all;
is(detours($_), 'one two three four', $_->name . ' goes on as it was: no address was decided') foreach @all;

$_->stop foreach @all;
done_testing();
