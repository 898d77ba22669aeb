# pg_upgrade carries everything, also into a cluster of the same version: rows,
# types, rights, handlers, row by row; messages and timers, which wait until
# unfence(); and what becomes of nodes and subscriptions.
# ACTORSTORE_OLD_SERVER, if set, is where an older server is installed, with
# the extension (test/upgrade.sh).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreCluster;
use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = new_node('old', server => $ENV{ACTORSTORE_OLD_SERVER}, streaming => 'logical', plugins => 'actorstore', settings => 'max_prepared_transactions = 10');
new_database($old, 'one');
populate($old, 'one');
new_database($old, 'two');
$old->safe_psql('two', q{SELECT actorstore.create_type('cart'), actorstore.insert('cart', 'only here', '2') IS NULL, actorstore.insert('loose', 'a', '2') IS NULL});

# An actor with messages that wait, and timers that are due while the server is stopped or upgraded.
new_database_with_actors($old, 'three');
$old->safe_psql('three', q{
	CREATE FUNCTION note(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT coalesce(state, '[]') || body$$;
	SELECT actorstore.create_type('list'), actorstore.set_handler('list', '*', 'note(jsonb, jsonb)');
	SELECT actorstore.send('list', 'a', 'note', '"before"')});
ok(comes_true($old, 'three', q{(SELECT value FROM actorstore.get('list', 'a')) = '["before"]'}), 'an actor handles a message');
$old->safe_psql('three', q{SELECT actorstore.init_node('three', 'dbname=three')});
$old->safe_psql('three', q{SELECT actorstore.set_node_location('three', 'north', 'r1')});
my ($uuid, $incarnation) = split /\|/, $old->safe_psql('three', q{SELECT node_uuid, incarnation FROM actorstore.node WHERE is_self});

# Since PostgreSQL 17 pg_upgrade wants slots that have nothing more to give, and a subscription's always has.
my $has_subscription = $old->safe_psql('postgres', q{SELECT current_setting('server_version_num')::int < 170000}) eq 't';
$old->safe_psql('three', q{SELECT actorstore.subscribe('s', 'now')}) if $has_subscription;
$old->safe_psql('three', q{SELECT actorstore.pause('list', 'a')});
$old->safe_psql('three', qq{SELECT actorstore.send('list', 'a', 'note', '"$_"')}) foreach 'first', 'second';
$old->safe_psql('three', q{
	SELECT actorstore.set_timer('list', 'c', 'soon', 'note', '"timer"', after => '20 s');
	SELECT actorstore.set_timer('list', 'd', 'again', 'note', '"again"', after => '20 s', every => '1 day')});

my %before = map { $_ => contents($old, $_) } 'one', 'two';
is(scalar(grep { /^actor\|/ } @{ $before{one} }), 8 * 300 + 6, 'actors to be carried over');
is(scalar(grep { /^actor\|/ } @{ $before{two} }), 2, 'and in a second database');
$old->stop;

# Pages have checksums by default since 18, and must have them in both or in neither.
my $new = ActorstoreCluster->new('new');
my @checksums = $old->pg_version < 18 && $new->pg_version >= 18 ? ('--no-data-checksums') : ();
$new->init(extra => [ '--no-locale', '--encoding=UTF8', '--username=postgres', @checksums ]);
$new->append_conf('postgresql.conf', "shared_preload_libraries = 'actorstore'\nwal_level = logical\nmax_prepared_transactions = 10");

my ($old_bindir, $bindir) = map { $_->config_data('--bindir') } $old, $new;
chdir(PostgreSQL::Test::Utils::tempdir) or die "chdir: $!";
my @upgrade = (
	'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $old_bindir, '-B', $bindir,
	'-s', $new->host, '-p', $old->port, '-P', $new->port);
command_ok([ @upgrade, '--check' ], 'pg_upgrade --check');
command_ok(\@upgrade, 'pg_upgrade');

$new->start;
$new->append_conf('postgresql.conf', "output_plugin_libraries = 'actorstore'")
  if $new->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'});
$new->reload;

# What 17 has besides: one more right of owners, MAINTAIN, and the types of an extension's tables and arrays among its members; and 18:
# constraints NOT NULL.
sub comparable { return [ map { s/=arwdDxtm\b/=arwdDxt/gr } $ENV{ACTORSTORE_OLD_SERVER} ? grep { !/^member\|type |^constraint\|.*\|NOT NULL / } @_ : @_ ]; }
is_deeply(comparable(@{ contents($new, $_) }), comparable(@{ $before{$_} }), "database $_: everything, one by one") foreach 'one', 'two';

is($new->safe_psql('one', q{SELECT value, version FROM actorstore.get('moved', 'id 4')}), '-4|1', 'get');
is($new->safe_psql('one', q{SELECT version FROM actorstore.update('loose', 'id 4', '1')}), '2', 'update');
is(sqlstate($new, 'one', q{SELECT actorstore.insert('cart', 'id 1', '1')}), '23505', 'insert of one that is there');
is(sqlstate($new, 'one', q{SET ROLE reader; SELECT actorstore.get('cart', 'id 1')}), '00000', 'a reader reads');
is(sqlstate($new, 'one', q{SET ROLE reader; SELECT actorstore.update('cart', 'id 1', '1')}), '42501', 'and does not write');
is($new->safe_psql('one', q{SELECT actorstore.create_type('loose'); SELECT count(*), sum(version) FROM actorstore.actor_loose}), "\n300|101",
	'create_type moves');
is($new->safe_psql('two', q{SELECT version FROM actorstore.update('cart', 'only here', '3')}), '1', 'the second database');
is(sqlstate($new, 'one', 'DROP EXTENSION actorstore'), '00000', 'DROP EXTENSION');

# Nothing has run on the way, nor does it before somebody says that the original runs no more.
is($new->safe_psql('three', q{SELECT ok FROM actorstore.doctor() WHERE item = 'fence'}), 'f', 'the upgraded database is fenced');
is($new->safe_psql('three', q{SELECT string_agg(actor_id || value, ' ') FROM actorstore.actor WHERE actor_type = 'list'}), 'a["before"]', 'nothing was handled');
is($new->safe_psql('three', q{SELECT count(*) FROM actorstore.message}), 2, 'messages wait');
is($new->safe_psql('three', q{SELECT string_agg(actor_id || ' ' || name, ', ' ORDER BY 1) FROM actorstore.timer}), 'c soon, d again', 'and timers');
is($new->safe_psql('three', q{SELECT actorstore.unfence()}), 't', 'unfence');
$new->safe_psql('three', q{SELECT actorstore.resume('list', 'a')});
ok(comes_true($new, 'three', q{EXISTS (SELECT FROM actorstore.get('list', 'c') WHERE value = '["timer"]')}), 'the timer fires');
ok(comes_true($new, 'three', q{EXISTS (SELECT FROM actorstore.get('list', 'd') WHERE value = '["again"]')}), 'also one that comes again');
ok(handled($new, 'three', 'list'), 'all messages are handled');
is($new->safe_psql('three', q{SELECT string_agg(actor_id || value, ' ' ORDER BY actor_id) FROM actorstore.actor WHERE actor_type = 'list'}),
	'a["before", "first", "second"] c["timer"] d["again"]', 'each once, in order, by the handler');
is($new->safe_psql('three', q{SELECT string_agg(actor_id || ' ' || name, ', ') FROM actorstore.timer}), 'd again', 'what comes again is there for the next time');

# It is the same node, in the place of the original.
is($new->safe_psql('three', qq{SELECT node_uuid = '$uuid', incarnation > $incarnation FROM actorstore.node WHERE is_self}), 't|t', 'the node is known, as a later one');
is($new->safe_psql('three', q{SELECT datacenter, rack FROM actorstore.node}), 'north|r1', 'and where it is');

SKIP:
{
	skip 'subscriptions have to end before', 3 unless $has_subscription;
	is($new->safe_psql('three', q{SELECT subscription, state FROM actorstore.stat_subscriptions}), 's|lost', 'a subscription has lost its slot');
	is(sqlstate($new, 'three', q{SELECT actorstore.fetch('s')}), '55000', 'and says so');
	$new->safe_psql('three', q{SELECT actorstore.unsubscribe('s')});
	$new->safe_psql('three', q{SELECT actorstore.subscribe('s', 'beginning', '{list}')});
	is($new->safe_psql('three', q{SELECT string_agg(actor_id, ' ' ORDER BY actor_id) FROM actorstore.fetch('s')}), 'a c d', 'one begins anew');
}

$new->stop;
done_testing();
