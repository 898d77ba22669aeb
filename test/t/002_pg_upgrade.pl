# pg_upgrade carries everything, also into a cluster of the same version: rows,
# types, rights, handlers, row by row.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreCluster;
use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = new_node('old');
new_database($old, 'one');
populate($old, 'one');
new_database($old, 'two');
$old->safe_psql('two', q{SELECT actorstore.create_type('cart'), actorstore.insert('cart', 'only here', '2') IS NULL, actorstore.insert('loose', 'a', '2') IS NULL});
my %before = map { $_ => contents($old, $_) } 'one', 'two';
is(scalar(grep { /^actor\|/ } @{ $before{one} }), 8 * 300 + 6, 'actors to be carried over');
is(scalar(grep { /^actor\|/ } @{ $before{two} }), 2, 'and in a second database');
$old->stop;

my $new = ActorstoreCluster->new('new');
$new->init(extra => [ '--no-locale', '--encoding=UTF8', '--username=postgres' ]);
$new->append_conf('postgresql.conf', "shared_preload_libraries = 'actorstore'");

my $bindir = $new->config_data('--bindir');
chdir(PostgreSQL::Test::Utils::tempdir) or die "chdir: $!";
my @upgrade = (
	'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $bindir, '-B', $bindir,
	'-s', $new->host, '-p', $old->port, '-P', $new->port);
command_ok([ @upgrade, '--check' ], 'pg_upgrade --check');
command_ok(\@upgrade, 'pg_upgrade');

$new->start;
is_deeply(contents($new, $_), $before{$_}, "database $_: everything, one by one") foreach 'one', 'two';

is($new->safe_psql('one', q{SELECT value, version FROM actorstore.get('moved', 'id 4')}), '-4|1', 'get');
is($new->safe_psql('one', q{SELECT version FROM actorstore.update('loose', 'id 4', '1')}), '2', 'update');
is(sqlstate($new, 'one', q{SELECT actorstore.insert('cart', 'id 1', '1')}), '23505', 'insert of one that is there');
is(sqlstate($new, 'one', q{SET ROLE reader; SELECT actorstore.get('cart', 'id 1')}), '00000', 'a reader reads');
is(sqlstate($new, 'one', q{SET ROLE reader; SELECT actorstore.update('cart', 'id 1', '1')}), '42501', 'and does not write');
is($new->safe_psql('one', q{SELECT actorstore.create_type('loose'); SELECT count(*), sum(version) FROM actorstore.actor_loose}), "\n300|101",
	'create_type moves');
is($new->safe_psql('two', q{SELECT version FROM actorstore.update('cart', 'only here', '3')}), '1', 'the second database');
is(sqlstate($new, 'one', 'DROP EXTENSION actorstore'), '00000', 'DROP EXTENSION');

$new->stop;
done_testing();
