# What the other tests ask a server without psql (ActorstoreClient), is answered byte for byte as psql does.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use POSIX ();
use Test::More;

my $node = new_node('queries', preload => 0);

$node->safe_psql('postgres', q{
	CREATE TABLE t (n int PRIMARY KEY, what text);
	CREATE FUNCTION says() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		RAISE NOTICE 'two
lines' USING DETAIL = 'a detail', HINT = 'a hint';
		RETURN 1 / (SELECT count(*) FROM t);
	END $$;
	CREATE FUNCTION broken() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT nothing FROM t'; END $$});

my @scripts = (
	'', ';', '-- nothing', "SELECT 1", "SELECT 1;\n", "SELECT 1, NULL, '', 'a|b', E'a\\nb', true, 1.50, ARRAY[1, NULL], '{\"a\": 1}'::jsonb",
	'SELECT FROM generate_series(1, 3)', 'SELECT n FROM generate_series(1, 0) AS n', "SELECT repeat('x', 100000), g FROM generate_series(1, 20) AS g",
	"SELECT 'ä', '日本', length('日本')", 'VALUES (1, 2), (3, NULL)', 'TABLE t', "SELECT 1; SELECT ';'; SELECT \$\$;\$\$\n;\n\nSELECT (2)",
	"INSERT INTO t VALUES (1, 'one') RETURNING *; UPDATE t SET n = 1; DELETE FROM t RETURNING n, what", 'SHOW work_mem', 'EXPLAIN (COSTS off) SELECT 1',
	'SET work_mem = \'1MB\'; SHOW work_mem; RESET work_mem', 'BEGIN; SELECT 1; ROLLBACK', 'BEGIN; SELECT 1', 'ROLLBACK', 'DO $$ BEGIN RAISE WARNING $m$%$m$, 1; END $$',
	'SELECT says()', "INSERT INTO t VALUES (1);\nSELECT says();\nDELETE FROM t", "SELECT 1;\n\nSELECT nothing,\n\t1; SELECT 2", 'SELECT broken()',
	'SELECT ' . join(', ', 1 .. 50) . ', nothing', 'SELECT ' . join(', ', 1 .. 5) . ', nothing, ' . join(', ', 1 .. 50), 'SELECT ' . join(', ', 1 .. 50) . ', nothing, ' . join(', ', 1 .. 50),
	"SELECT '日本', nothing", 'SELECT 1 +', 'SELECT (1', "SELECT 'a", 'SELECT 1 / 0', 'SELECT g, 1 / (3 - g) FROM generate_series(1, 3) AS g', "BEGIN; SELECT 1 / 0; SELECT 1; COMMIT; SELECT 3",
	'CREATE TABLE t ()', 'DROP TABLE IF EXISTS nothing', 'SELECT pg_terminate_backend(pg_backend_pid()), 1', 'COPY (SELECT 1) TO STDOUT', "\\echo hello\nSELECT 1", 'SELECT :USER', "SELECT :'USER'",
	"CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT f()", "SELECT 1 /* ; */; SELECT 2", "SELECT 'it''s', E'it\\'s;'", 'SELECT current_setting(\'application_name\'), current_user');

# Where there are errors, also as sqlstate() of ActorstoreTest asks, and without a stop at the first one.
foreach my $script (@scripts)
{
	my ($name) = $script =~ /\A([^\n]{0,40})/;

	foreach ([], [ on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=sqlstate' ] ])
	{
		my @expected = $node->PostgreSQL::Test::Cluster::psql('postgres', $script, @$_);

		is_deeply([ $node->psql('postgres', $script, @$_) ], \@expected, $name . (@$_ ? ', all errors' : ''));
		last if $expected[0] == 0;
	}
}

is($node->psql('nothing', 'SELECT 1', stderr => \my $error), 2, 'a database that is not there');
like($error, qr/database "nothing" does not exist/, 'which psql says');
ok(!eval { $node->safe_psql('postgres', 'SELECT nothing'); 1 }, 'an error');
like($@, qr/error running SQL: 'psql:<stdin>:1: ERROR:  column "nothing" does not exist\nLINE 1: SELECT nothing\n               \^'/, 'is died of');
like($@, qr/^while running '\S*psql -XAtq -d port=\d+ host=\S+ dbname='postgres' -f - -v ON_ERROR_STOP=1' with sql 'SELECT nothing' at /m, 'and where');

# Each has a session of its own, which ends with it.
my $pid = $node->safe_psql('postgres', 'SELECT pg_backend_pid() FROM pg_advisory_lock(1)');
is($node->safe_psql('postgres', "SELECT pid = $pid OR pg_backend_pid() = $pid FROM pg_locks WHERE locktype = 'advisory'"), '', 'nothing is left behind');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE template1');

# One that is kept has nothing of what it was asked before, ends when it is told to, and is replaced when the server ends it.
my %kept = (kept => 1);
my $kept = $node->safe_psql('postgres', 'SELECT pg_backend_pid()', %kept);
isnt($kept, $pid, 'a session that is kept');
$node->safe_psql('postgres', "SET work_mem = '1MB'; CREATE ROLE other; SET ROLE other; SELECT pg_advisory_lock(1); BEGIN; CREATE TEMP TABLE gone ()", %kept);
is($node->safe_psql('postgres', q{SELECT pg_backend_pid(), current_setting('work_mem'), current_user, to_regclass('gone') IS NULL, count(*) FROM pg_locks WHERE locktype = 'advisory'}, %kept),
	"$kept|4MB|postgres|t|0", 'is as a new one');
is(($node->psql('postgres', 'SELECT 1 / 0', %kept))[0], 3, 'an error');
is($node->safe_psql('postgres', 'SELECT pg_backend_pid()', %kept), $kept, 'does not end it');
$node->end_kept;
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $kept"), '0', 'it ends');
$kept = $node->safe_psql('postgres', 'SELECT pg_backend_pid()', %kept);
$node->safe_psql('template1', "SELECT pg_terminate_backend($kept, 180000)");
isnt($node->safe_psql('postgres', 'SELECT pg_backend_pid()', %kept), $kept, 'or is ended');

# A poll goes on when its session is ended, or the server; and ends when what it waits for does not come.
my $ends = 'SELECT CASE WHEN count(*) = 3 THEN true ELSE pg_terminate_backend(pg_backend_pid()) END FROM t';
$node->safe_psql('postgres', "TRUNCATE t; INSERT INTO t VALUES (1, ''), (2, '')");
my $other = fork // die;
if ($other == 0)
{
	$node->safe_psql('postgres', "SELECT pg_sleep(0.2); INSERT INTO t VALUES (3, '')");
	POSIX::_exit(0);
}
ok($node->poll_query_until('postgres', $ends), 'a poll opens another session');
waitpid $other, 0;
is($?, 0, 'what it waited for');
ok($node->poll_query_until('postgres', 'SELECT count(*), NULL FROM t', '3|'), 'a poll for something else than true');
{
	local $ENV{PGSSLMODE} = 'no such mode';
	is($node->psql('postgres', 'SELECT 1', stderr => \$error), 2, 'what only libpq looks at, in the environment');
	local $ENV{PGSSLMODE} = 'disable';
	ok($node->poll_query_until('postgres', 'SELECT true'), 'also where it polls');
}
$node->restart;
is($node->safe_psql('postgres', 'SELECT 1', @$_), '1', 'and after a restart') foreach [], [%kept];

done_testing;
