# Types are declared, altered, granted and dropped by some clients while others
# use them: whoever calls is told that a type or an actor is not there, or
# already is, and nothing else ever; and what is left in the end fits together.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my ($clients, $transactions) = (8, 150);
my $node = new_node('type_storm', settings => "fsync = off\nsynchronous_commit = off\ndeadlock_timeout = 10ms");
new_database($node, 'd');
$node->safe_psql('d', q{
	CREATE ROLE reader;
	CREATE TABLE outcome (call text, state text);
	-- One call of many, each by itself; put and reads may not fail at all.
	CREATE PROCEDURE call(number int, type text, id text) LANGUAGE plpgsql AS $$
	DECLARE
		call text := (ARRAY['create_type($1)', 'drop_type($1)', 'alter_type($1, max_attempts => 3)', 'alter_type($1, persistence => ''unlogged'')',
			'alter_type($1, persistence => ''logged'')', 'grant_type($1, ''reader'', ''{read}'')', 'revoke_type($1, ''reader'', ''{read}'')',
			'insert($1, $2, ''1'')', 'update($1, $2, ''1'')', 'delete($1, $2)', 'compare_and_swap($1, $2, 0, ''1'')',
			'put($1, $2, ''1'')', 'put($1, $2, ''2'')', 'put_many($1, ARRAY[''x'', $2], ''{1,2}'')',
			'get($1, $2)', 'get_all($1)', 'list($1)', 'get_many($1, ARRAY[$2, ''x''])', 'get_many($1, ARRAY[$2, ''x''], ''update'')'])[number];
	BEGIN
		EXECUTE 'SELECT actorstore.' || call USING type, id;
		INSERT INTO outcome VALUES (call, 'ok');
	EXCEPTION WHEN OTHERS THEN
		INSERT INTO outcome VALUES (call, SQLSTATE || CASE WHEN SQLSTATE IN ('42704', '42710', 'P0002', '23505', '55000') THEN '' ELSE ' ' || SQLERRM END);
	END $$});

my $file = PostgreSQL::Test::Utils::tempdir . '/script';
append_to_file($file, q{
\set number random(1, 19)
\set type random(1, 2)
\set id random(1, 5)
CALL call(:number, 'type' || (:type)::text, 'id' || (:id)::text);
} x 10);
my ($stdout, $stderr) = ('', '');
ok(IPC::Run::run([ 'pgbench', '-n', '-c', $clients, '-j', 2, '-t', $transactions, '-f', $file, '-h', $node->host, '-p', $node->port, 'd' ],
		'>', \$stdout, '2>', \$stderr), 'pgbench succeeds');
is(join("\n", grep { /error|aborted/i } split /\n/, $stderr), '', 'without an error');
is($node->safe_psql('d', 'SELECT count(*) FROM outcome'), $clients * $transactions * 10, 'all calls were made');
is($node->safe_psql('d', q{SELECT count(DISTINCT call) FROM outcome WHERE state = 'ok'}), 19, 'each of them has succeeded at times');

my %may = (
	create_type => '42710', drop_type => '42704', alter_type => '42704 55000', grant_type => '42704', revoke_type => '42704', insert => '23505',
	update => '42704 P0002', delete => '42704', compare_and_swap => '42704', put => '', put_many => '', get => '', get_all => '', list => '', get_many => '');
my @unexpected = grep { my ($call, $state) = /^(\w+)\(.*\)\|(.*)\|\d+$/; $state ne 'ok' && index($may{$call}, $state) < 0 }
  rows($node, 'd', 'SELECT call, state, count(*) FROM outcome GROUP BY 1, 2 ORDER BY 1, 2');
is_deeply(\@unexpected, [], 'none has failed but for what may be missing or there');

# What is left fits together.
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.actor WHERE actor_type NOT IN (SELECT actor_type FROM actorstore.type)}), '0', 'no actor without a type');
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.actor AS a JOIN actorstore.type AS t USING (actor_type)
	WHERE a.tableoid <> actorstore.type_table(actor_type) OR t.declared <> (a.tableoid <> 'actorstore.undeclared'::regclass)}), '0', 'each where it belongs');
is($node->safe_psql('d', q{SELECT count(*) FROM (SELECT 1 FROM actorstore.actor GROUP BY actor_type, actor_id HAVING count(*) > 1) AS d}), '0', 'none twice');
is($node->safe_psql('d', q{SELECT (SELECT count(*) FROM pg_inherits WHERE inhparent = 'actorstore.actor'::regclass) - 1 - (SELECT count(*) FROM actorstore.type WHERE declared)}),
	'0', 'a partition for each declared type');
is($node->safe_psql('d', q{SELECT count(*) FROM pg_class WHERE relnamespace = 'actorstore'::regnamespace AND relname LIKE 'actor\_%' AND relkind = 'r' AND NOT relispartition}),
	'0', 'no table is left over');
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.type_grant WHERE actor_type NOT IN (SELECT actor_type FROM actorstore.type)}), '0', 'no right without a type');
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.type AS t JOIN pg_class AS c ON c.oid = actorstore.type_table(t.actor_type)
	WHERE t.declared AND (t.persistence = 'unlogged') <> (c.relpersistence = 'u')}), '0', 'persistence is what it says');

$node->stop;
done_testing();
