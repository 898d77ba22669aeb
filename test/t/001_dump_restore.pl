# pg_dump and what reads it back carry everything: types, rights, handlers and
# each actor, also those in partitions made at run time, which are members of
# no extension and easily left out.  Not a word on stderr, and afterwards all
# works.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('dump');
my @server = ('-h', $node->host, '-p', $node->port);
my $directory = PostgreSQL::Test::Utils::tempdir;

new_database($node, 'original');
populate($node, 'original');
my $original = contents($node, 'original');
is(scalar(grep { /^actor\|/ } @$original), 8 * 300 + 6, 'actors to be dumped');
is(scalar(grep { /^type\|/ } @$original), 11, 'types');
is(scalar(grep { /^handler\|/ } @$original), 4, 'handlers');

quiet_ok('pg_dump -Fc', 'pg_dump', @server, '-Fc', '-f', "$directory/custom", 'original');
quiet_ok('pg_dump', 'pg_dump', @server, '-f', "$directory/plain", 'original');
quiet_ok('pg_dump -Fd -j2', 'pg_dump', @server, '-Fd', '-j2', '-f', "$directory/directory", 'original');
quiet_ok('pg_dump --inserts', 'pg_dump', @server, '--column-inserts', '-f', "$directory/inserts", 'original');

my %read_back = (
	custom => sub { return ('pg_restore', @server, '-d', $_[0], "$directory/custom") },
	single => sub { return ('pg_restore', @server, '-1', '-d', $_[0], "$directory/custom") },
	directory => sub { return ('pg_restore', @server, '-j2', '-d', $_[0], "$directory/directory") },
	plain => sub { return ('psql', '-Xq', @server, '-o', '/dev/null', '-f', "$directory/plain", $_[0]) },
	inserts => sub { return ('psql', '-Xq', @server, '-o', '/dev/null', '-f', "$directory/inserts", $_[0]) });
foreach my $how (sort keys %read_back)
{
	my $database = "restored_$how";

	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0 ENCODING 'UTF8'");
	$node->safe_psql('postgres', "GRANT CREATE ON DATABASE $database TO keeper");
	quiet_ok("restore $how", $read_back{$how}->($database));
	is_deeply(contents($node, $database), $original, "restored $how: everything, one by one");
}

# The dump of what was restored is the same dump, in whatever order its rows are. Only the copy also says which database it
# is, by four numbers.
quiet_ok('pg_dump of the restored', 'pg_dump', @server, '-f', "$directory/again", 'restored_custom');
my ($first, $second) = map { [ sort grep { !/^\\(un)?restrict |^\d+\t\d+\t\d+\t-?\d+\t\d+$/ } split /\n/, slurp_file("$directory/$_") ] } 'plain', 'again';
is_deeply($second, $first, 'the same dump again');

# And back into the database it came from, cleaned first.
quiet_ok('pg_restore --clean', 'pg_restore', @server, '--clean', '-d', 'restored_custom', "$directory/custom");
is_deeply(contents($node, 'restored_custom'), $original, 'restored --clean');

# It works there: state, types, rights.
my $d = 'restored_plain';
is($node->safe_psql($d, q{SELECT value, version FROM actorstore.get('moved', 'id 4')}), '-4|1', 'get');
is($node->safe_psql($d, q{SELECT version FROM actorstore.update('loose', 'id 4', '1')}), '2', 'update');
is($node->safe_psql($d, q{SELECT version FROM actorstore.put('it''s an "odd" type', 'new', '1')}), '0', 'put');
is(sqlstate($node, $d, q{SELECT actorstore.insert('cart', 'id 1', '1')}), '23505', 'insert of one that is there');
is($node->safe_psql($d, q{SELECT swapped FROM actorstore.compare_and_swap('memory', 'id 1', 0, '1')}), 't', 'compare_and_swap');
is($node->safe_psql($d, q{SELECT actorstore.put_many('kept', '{a,b}', '{1,1}')}), '2', 'put_many');
is(sqlstate($node, $d, q{SET ROLE reader; SELECT actorstore.get('cart', 'id 1')}), '00000', 'a reader reads');
is(sqlstate($node, $d, q{SET ROLE reader; SELECT * FROM actorstore.actor_cart}), '00000', 'its table, too');
is(sqlstate($node, $d, q{SET ROLE reader; SELECT actorstore.update('cart', 'id 1', '1')}), '42501', 'and does not write');
is(sqlstate($node, $d, q{SET ROLE reader; SELECT actorstore.get('loose too', 'id 1')}), '42501', 'nor read others');
is(sqlstate($node, $d, q{SET ROLE keeper; SELECT actorstore.update('kept', 'a', '1')}), '00000', 'an owner writes');
is(sqlstate($node, $d, q{SET ROLE keeper; SELECT actorstore.create_type('kept loosely')}), '00000', 'and declares');
is(sqlstate($node, $d, q{SET ROLE keeper; SELECT actorstore.alter_type('cart', max_attempts => 2)}), '42501', 'his own only');
is($node->safe_psql($d, q{SELECT actorstore.create_type('loose'); SELECT count(*), sum(version) FROM actorstore.actor_loose}), "\n300|101",
	'create_type moves');
is(sqlstate($node, $d, q{SELECT actorstore.create_type('cart')}), '42710', 'a type that is there');
is($node->safe_psql($d, q{SELECT actorstore.alter_type('cart', persistence => 'unlogged'); SELECT count(*) FROM actorstore.get_all('cart')}), "\n304",
	'alter_type');
is($node->safe_psql($d, q{SELECT actorstore.drop_type(actor_type) FROM (SELECT actor_type FROM actorstore.type) AS t; SELECT count(*) FROM actorstore.actor}),
	"\n" x 11 . '0', 'drop_type');
is(sqlstate($node, $d, 'DROP EXTENSION actorstore'), '00000', 'DROP EXTENSION');
is($node->safe_psql($d, q{SELECT count(*) FROM pg_namespace WHERE nspname = 'actorstore'}), '0', 'no schema is left');

$node->stop;
done_testing();
