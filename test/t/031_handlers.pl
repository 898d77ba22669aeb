# What handlers may do and what they may not: they run as their type's owner,
# and nothing of one turn is found by another one, least of all by another
# owner's.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

# One worker, so that every turn comes into the same session.
my $node = new_node('handlers', settings => "actorstore.workers = 1\nactorstore.worker_memory_limit = '1GB'\nmax_prepared_transactions = 5\ntrack_functions = all");
new_database_with_actors($node, 'd');

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }

sub as
{
	my ($role, $sql) = @_;
	return sql("SET ROLE $role; SET search_path = $role, public; $sql");
}

sql(q{
CREATE ROLE alice; CREATE ROLE bob; CREATE ROLE mallory;
GRANT CREATE ON DATABASE d TO alice, bob, mallory;
GRANT ALL ON SCHEMA public TO PUBLIC;
CREATE SCHEMA alice AUTHORIZATION alice; CREATE SCHEMA bob AUTHORIZATION bob; CREATE SCHEMA mallory AUTHORIZATION mallory});

# A handler that runs what the message says, in a block of its own or not, and
# tells how that went; another one that tells what it finds.
foreach my $role ('alice', 'bob')
{
	as($role, qq{
		CREATE FUNCTION run(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
		DECLARE
			result text := 'ok';
		BEGIN
			IF body ? 'plainly' THEN
				EXECUTE body->>'plainly';
				RETURN NULL;
			END IF;
			BEGIN
				EXECUTE body->>'run';
			EXCEPTION WHEN OTHERS THEN
				result := SQLSTATE;
			END;
			INSERT INTO public.seen (what) VALUES (result);
			RETURN NULL;
		END \$\$;
		CREATE FUNCTION look(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
		DECLARE
			result text;
		BEGIN
			EXECUTE 'SELECT (' || (body->>'look') || ')::text' INTO result;
			INSERT INTO public.seen (what) VALUES (coalesce(result, 'null'));
			RETURN NULL;
		END \$\$;
		SELECT actorstore.create_type('$role', max_attempts => 1), actorstore.set_handler('$role', 'run', 'run(jsonb, jsonb)'), actorstore.set_handler('$role', 'look', 'look(jsonb, jsonb)')});
}

# Send a message, wait, and return what the handler has said, or the dead letter.
sub turn
{
	my ($type, $message, $key, $value) = @_;

	sql(q{TRUNCATE seen; DELETE FROM actorstore.dead_message});
	sql(qq{SELECT actorstore.send('$type', 'a', '$message', jsonb_build_object('$key', \$body\$$value\$body\$))});
	return 'not handled' unless handled($node, 'd', $type);
	return sql(q{SELECT what FROM (SELECT n, what FROM seen UNION ALL SELECT message_id, concat_ws(' ', 'dead:', reason, sqlstate) FROM actorstore.dead_message) AS s ORDER BY n});
}
sub run { my ($sql) = @_; return turn('alice', 'run', 'run', $sql); }
sub plainly { my ($sql) = @_; return turn('alice', 'run', 'plainly', $sql); }
sub look { my ($who, $expression) = @_; return turn($who, 'look', 'look', $expression); }

# ---- Who it is ----

is(look('alice', 'current_user'), 'alice', 'it runs as the owner of its type');
is(look('bob', 'current_user'), 'bob', 'each as his own');
is(run($_), '42501', $_) foreach 'SET ROLE postgres', 'SET ROLE bob', 'SET LOCAL ROLE postgres', 'RESET ROLE', 'SET ROLE none', 'SET SESSION AUTHORIZATION postgres', 'SET SESSION AUTHORIZATION bob',
	'RESET SESSION AUTHORIZATION', q{SELECT set_config('role', 'postgres', false)}, 'SELECT * FROM actorstore.message', 'SELECT * FROM bob.look', 'SET session_replication_role = replica', 'SET log_statement = none',
	q{SELECT pg_read_file('postgresql.conf')}, 'CREATE ROLE another', 'CHECKPOINT', q{SELECT pg_terminate_backend(pg_backend_pid())}, q{SELECT pg_cancel_backend(pg_backend_pid())},
	q{SELECT actorstore.send('bob', 'a', 'look')}, q{SELECT actorstore.put('bob', 'a', '1')}, q{SELECT actorstore.get('bob', 'a')}, q{SELECT actorstore.spawn('bob', 'b', '1')}, q{SELECT actorstore.pause('alice')}, 'SELECT actorstore.unfence()',
	q{SELECT actorstore.set_handler('bob', 'run', 'alice.run(jsonb, jsonb)')},
	(map { ("INSERT INTO actorstore.$_ SELECT * FROM actorstore.$_", "DELETE FROM actorstore.$_", "TRUNCATE actorstore.$_") } 'message', 'dead_message', 'dedup', 'halted', 'identity', 'type', 'handler', 'actor', 'actor_alice'),
	'UPDATE actorstore.type SET owner = 10', 'LOCK actorstore.message', 'DROP EXTENSION actorstore', 'ALTER TABLE actorstore.message DISABLE TRIGGER ALL', q{SELECT nextval('actorstore.message_number')};
is(plainly('SET ROLE postgres'), 'dead: exhausted 42501', 'the same without an exception block');
is(plainly('RESET SESSION AUTHORIZATION'), 'dead: exhausted 42501', 'and this');
is(look('alice', 'session_user || current_user'), 'postgresalice', 'it is still alice');

# ---- Transactions ----

as('alice', q{CREATE PROCEDURE committing() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen (what) VALUES ('committed'); COMMIT; END $$});
is(plainly($_), 'dead: exhausted 0A000', $_) foreach 'COMMIT', 'ROLLBACK', 'SAVEPOINT s', 'BEGIN', q{PREPARE TRANSACTION 'p'};
is(plainly($_), 'dead: exhausted 25001', $_) foreach 'VACUUM', 'CREATE DATABASE e', 'DISCARD ALL', 'ALTER SYSTEM RESET ALL', 'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE';
is(plainly('CALL alice.committing()'), 'dead: exhausted 2D000', 'COMMIT in a procedure');
is(run('SET TRANSACTION READ ONLY'), 'ok', 'SET TRANSACTION READ ONLY');
is(look('alice', q{current_setting('transaction_read_only')}), 'off', 'is over');

# ---- Temporary objects, LISTEN ----

sql(q{CREATE TABLE public.plain (a int); GRANT SELECT ON plain TO PUBLIC});
sql(q{CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw; GRANT USAGE ON FOREIGN SERVER s TO alice}) if sql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'});
foreach my $statement (
	'DO $do$ BEGIN CREATE TEMP TABLE t (a int); END $do$', 'CREATE TEMP TABLE t (a int)', 'CREATE TEMPORARY TABLE t (a int)', 'CREATE LOCAL TEMP TABLE t (a int)', 'CREATE TABLE pg_temp.t (a int)', 'CREATE UNLOGGED TABLE pg_temp.t (a int)',
	'CREATE TEMP TABLE t AS SELECT 1', 'CREATE TABLE pg_temp.t AS SELECT 1', 'CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1', 'CREATE TEMP TABLE t (LIKE public.plain)',
	'CREATE TEMP VIEW t AS SELECT 1', 'CREATE VIEW pg_temp.t AS SELECT 1', 'CREATE TEMP RECURSIVE VIEW t (a) AS SELECT 1', 'CREATE TEMP SEQUENCE t', 'CREATE SEQUENCE pg_temp.t',
	'SET LOCAL search_path = pg_temp; CREATE TABLE t (a int)', 'SET search_path = pg_temp, public; CREATE VIEW t AS SELECT 1', q{SELECT set_config('search_path', 'pg_temp', true); CREATE TABLE t AS SELECT 1},
	'CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql RETURN 1', 'CREATE TYPE pg_temp.t AS (a int)', 'CREATE DOMAIN pg_temp.t AS int', q{CREATE TYPE pg_temp.t AS ENUM ('a')},
	'CREATE AGGREGATE pg_temp.a (int) (SFUNC = int4pl, STYPE = int)', 'CREATE COLLATION pg_temp.c FROM "C"', 'CREATE OPERATOR pg_temp.+ (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)',
	'CREATE TEXT SEARCH CONFIGURATION pg_temp.t (COPY = simple)', sql(q{SELECT count(*) FROM pg_foreign_server}) ? 'CREATE FOREIGN TABLE pg_temp.t (a int) SERVER s' : ())
{
	like(plainly($statement), qr/^dead: exhausted (0A000|42501)$/, $statement);
	is(sql(q{SELECT count(*) FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace WHERE nspname LIKE 'pg_temp%'}) + sql(q{SELECT count(*) FROM pg_proc JOIN pg_namespace AS n ON n.oid = pronamespace WHERE nspname LIKE 'pg_temp%'})
		  + sql(q{SELECT count(*) FROM pg_type JOIN pg_namespace AS n ON n.oid = typnamespace WHERE nspname LIKE 'pg_temp%'}), 0, '... and nothing is there');
}
is(plainly($_), 'dead: exhausted 0A000', $_) foreach 'LISTEN a', 'UNLISTEN *';
my $listener = ActorstoreTest::Session->new($node, 'd');
$listener->query('LISTEN alice');
is(run(q{NOTIFY alice, 'hello'}), 'ok', 'NOTIFY');
like($listener->query('SELECT 1'), qr/"alice" with payload "hello"/, 'NOTIFY arrives');
$listener->quit;

# ---- What a turn leaves behind ----

foreach my $who ('alice', 'bob')
{
	turn('alice', 'look', 'look', '1') foreach 1 .. 2;
	is(run(q{SELECT set_config('work_mem', '77kB', false), set_config('search_path', 'pg_catalog', false), set_config('my.own', 'x', false)}), 'ok', 'session settings');
	is(look($who, q{current_setting('work_mem') || current_setting('search_path') || coalesce(current_setting('my.own', true), '')}), "4MB$who, public", "are not found by $who");
	is(run('SET statement_timeout = 1'), 'ok', 'statement_timeout');
	is(look($who, q{current_setting('statement_timeout')}), '0', "is not found by $who");
	is(run('RESET ALL'), 'ok', 'RESET ALL');
	is(look($who, q{current_setting('default_transaction_isolation') || current_setting('search_path')}), "read committed$who, public", "does not hurt $who");
	is(run('SELECT pg_advisory_lock(42), pg_advisory_lock(42), pg_advisory_lock_shared(43)'), 'ok', 'session locks');
	is(sql(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), 0, 'are gone');
	is(run('PREPARE p AS SELECT 1'), 'ok', 'PREPARE');
	is(look($who, '(SELECT count(*) FROM pg_prepared_statements)'), '0', "is not found by $who");
	is(run('DECLARE c CURSOR WITH HOLD FOR SELECT 1'), 'ok', 'a cursor WITH HOLD');
	is(look($who, '(SELECT count(*) FROM pg_cursors WHERE is_holdable)'), '0', "is not found by $who");
	as('alice', 'CREATE SEQUENCE IF NOT EXISTS counter');
	is(run(q{SELECT nextval('alice.counter')}), 'ok', 'a sequence');
	is(turn($who, 'run', 'run', 'SELECT lastval()'), '55000', "its lastval() is not found by $who") if $who eq 'bob';
}

# In a batch it is no different.
sub batch
{
	my ($type, @messages) = @_;

	sql(q{TRUNCATE seen; DELETE FROM actorstore.dead_message});
	sql("SELECT actorstore.pause('$type')");
	sql('BEGIN; ' . join('', map { "SELECT actorstore.send('$type', 'a', '$_->[0]', jsonb_build_object('$_->[1]', \$body\$$_->[2]\$body\$)); " } @messages) . 'COMMIT');
	sql("SELECT actorstore.resume('$type')");
	handled($node, 'd', $type) or return 'not handled';
	return join(' ', rows($node, 'd', q{SELECT what FROM (SELECT n, what FROM seen UNION ALL SELECT message_id, concat_ws(' ', 'dead:', reason, sqlstate) FROM actorstore.dead_message) AS s ORDER BY n}));
}
is(batch('alice', [ 'run', 'run', q{SELECT set_config('work_mem', '77kB', false), set_config('search_path', 'pg_catalog', false)} ], [ 'look', 'look', q{current_setting('work_mem') || current_setting('search_path')} ]),
	'ok 4MBalice, public', 'settings: not found by the next message');
is(batch('alice', map { [ 'run', 'plainly', "PREPARE p AS SELECT $_; INSERT INTO public.seen (what) VALUES ($_)" ] } 1 .. 3), '1 2 3', 'PREPARE: not in the way of the next message');

# ---- Deferred triggers ----

as('alice', q{
	CREATE TABLE put_off (what text);
	CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.seen (what) VALUES (current_user || ' at the end');
		EXECUTE NEW.what;
		RETURN NULL;
	END $$;
	GRANT ALL ON put_off TO PUBLIC;
	CREATE CONSTRAINT TRIGGER later AFTER INSERT ON put_off DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION later()});
sub deferred { my ($sql) = @_; return turn('alice', 'run', 'plainly', "INSERT INTO alice.put_off VALUES (\$deferred\$$sql\$deferred\$)"); }
is(deferred('SELECT 1'), 'alice at the end', 'a deferred trigger runs as the owner, not as a superuser');
is(deferred($_), 'dead: exhausted 42501', "$_, put off") foreach 'SET ROLE postgres', 'RESET ROLE', 'RESET SESSION AUTHORIZATION', 'CREATE ROLE another', 'DELETE FROM actorstore.message', 'SET session_replication_role = replica',
	q{SELECT pg_terminate_backend(pg_backend_pid())};
like(deferred($_), qr/^dead: exhausted (0A000|42501|2D000)$/, "$_, put off") foreach 'COMMIT', 'CREATE TEMP TABLE plain (a int)', 'CREATE TABLE pg_temp.plain (a int)', 'SET LOCAL search_path = pg_temp; CREATE TABLE plain (a int)', 'LISTEN a',
	'CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql RETURN 1';
is(look('bob', q{(SELECT relpersistence FROM pg_class WHERE oid = 'plain'::regclass)}), 'p', 'a table that bob finds is the real one');
is(sql(q{SELECT count(*) FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace WHERE nspname LIKE 'pg_temp%'}), 0, 'there are no temporary tables');
is(deferred(q{SELECT set_config('work_mem', '66kB', false), set_config('search_path', 'mallory', false), set_config('default_transaction_isolation', 'serializable', false), set_config('default_transaction_deferrable', 'on', false)}), 'alice at the end', 'settings, put off');
is(look('bob', q{current_setting('work_mem') || current_setting('search_path') || current_setting('transaction_isolation')}), '4MBbob, publicread committed', 'are not found by bob');
is(deferred('SELECT pg_advisory_lock(42)'), 'alice at the end', 'session locks, put off');
is(sql(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), 0, 'are gone');
is(deferred('PREPARE p AS SELECT 1'), 'alice at the end', 'PREPARE, put off');
is(look('bob', '(SELECT count(*) FROM pg_prepared_statements)'), '0', 'is not found by bob');
is(deferred(q{SELECT 1/0}), 'dead: exhausted 22012', 'an error of a deferred trigger is one of the turn');
is(deferred(q{SELECT set_config('default_transaction_read_only', 'on', false)}), 'alice at the end', 'default_transaction_read_only, put off');
is(look('bob', q{current_setting('transaction_read_only')}), 'off', 'does not stop bob');
# ... nor in a cursor that the end of the transaction runs through.
as('alice', q{CREATE FUNCTION on_the_way() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('work_mem', '65kB', false), set_config('default_transaction_read_only', 'on', false); INSERT INTO public.seen (what) VALUES (current_user); RETURN 'x'; END $$});
like(plainly('DECLARE c CURSOR WITH HOLD FOR SELECT alice.on_the_way()'), qr/^(alice|)$/, 'a cursor WITH HOLD is run through as the owner, if at all');
is(look('bob', q{current_setting('work_mem') || current_setting('transaction_read_only')}), '4MBoff', 'and leaves no settings');

# ---- search_path ----

# bob's handler means bob's table, whatever stands in public or elsewhere.
as('bob', q{CREATE TABLE account (v text); INSERT INTO account VALUES ('real');
	CREATE FUNCTION unqualified(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen (what) SELECT v || length('abc') FROM account; RETURN NULL; END $$;
	SELECT actorstore.set_handler('bob', 'unqualified', 'unqualified(jsonb, jsonb)')});
sql(q{CREATE TABLE public.account (v text); INSERT INTO public.account VALUES ('public'); GRANT ALL ON public.account TO PUBLIC});
as('mallory', q{
	CREATE TABLE mallory.account (v text); GRANT ALL ON mallory.account TO PUBLIC; GRANT USAGE ON SCHEMA mallory TO PUBLIC;
	CREATE FUNCTION public.length(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'captured'; END $$;
	CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'captured'; END $$;
	CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'captured'; END $$;
	CREATE FUNCTION public.make_interval(secs float8) RETURNS interval LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'captured'; END $$;
	CREATE FUNCTION public.eq(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'captured'; END $$;
	CREATE OPERATOR public.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = public.eq);
	CREATE FUNCTION public.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'captured'; END $$;
	CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.eq);
	CREATE TABLE public.dead_message (a int); CREATE TABLE public.message (a int); CREATE TABLE public.dedup (a int); CREATE TABLE public.halted (a int)});
sql(q{ALTER DATABASE d SET search_path = public, pg_catalog; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'actorstore worker'});
is(turn('bob', 'unqualified', 'x', 'x'), 'real3', 'a hostile public schema and search_path of the database');
sql(q{ALTER DATABASE d RESET search_path; SET search_path = mallory; SELECT actorstore.send('bob', 'b', 'unqualified', dedup_key => 'k')});
ok(handled($node, 'd', 'bob'), 'the sender\'s search_path');
is(sql(q{SELECT count(*) FROM seen WHERE what = 'real3'}), 2, 'is not the handler\'s');
is(look('bob', 'current_schemas(false)'), '{bob,public}', 'it is that of set_handler');
sql(q{DROP FUNCTION public.length, public.now, public.clock_timestamp, public.make_interval; DROP OPERATOR public.= (bigint, bigint); DROP OPERATOR public.= (text, text)});

# What the database is set to is for its users.
sql(q{ALTER DATABASE d SET transaction_timeout = '500 ms'}) if $node->pg_version >= 17;
sql(q{ALTER DATABASE d SET default_transaction_read_only = on; ALTER DATABASE d SET statement_timeout = '500 ms'; ALTER DATABASE d SET lock_timeout = '500 ms'; ALTER DATABASE d SET default_transaction_isolation = 'serializable'; ALTER DATABASE d SET role = 'mallory';
	ALTER DATABASE d SET session_replication_role = 'replica'; ALTER DATABASE d SET row_security = off; ALTER ROLE bob SET search_path = mallory});
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'actorstore worker'});
my $all = 'SET ROLE postgres; SET default_transaction_read_only = off; SET statement_timeout = 0; SET lock_timeout = 0; SET session_replication_role = origin; SET default_transaction_isolation = \'read committed\';'
  . ($node->pg_version >= 17 ? 'SET transaction_timeout = 0;' : '');
sql(qq{$all TRUNCATE seen});
sql(qq{$all SELECT actorstore.send('bob', 'a', 'look', '{"look": "pg_sleep(0.8) || current_user || current_setting(''transaction_read_only'') || current_setting(''transaction_isolation'')"}')});
is(sql(qq{$all SELECT until('EXISTS (SELECT FROM seen)'); SELECT what FROM seen}), "t\nboboffread committed", 'the settings of the database');
sql(qq{$all ALTER DATABASE d RESET ALL; ALTER ROLE bob RESET ALL});

# ---- Functions that come and go ----

as('bob', q{CREATE FUNCTION changing(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO seen (what) VALUES ('first'); SELECT NULL::jsonb $$; SELECT actorstore.set_handler('bob', 'changing', 'changing(jsonb, jsonb)')});
is(turn('bob', 'changing', 'x', 'x'), 'first', 'a handler');
as('bob', q{CREATE OR REPLACE FUNCTION changing(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO seen (what) VALUES ('second'); SELECT NULL::jsonb $$});
is(turn('bob', 'changing', 'x', 'x'), 'second', 'replaced');
as('bob', q{DROP FUNCTION changing(jsonb, jsonb)});
is(turn('bob', 'changing', 'x', 'x'), 'dead: exhausted 42883', 'dropped');
sql(q{GRANT ALL ON SCHEMA bob TO mallory});
as('mallory', q{CREATE FUNCTION bob.changing(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO public.seen (what) VALUES ('mallory was here as ' || current_user); SELECT NULL::jsonb $$});
is(turn('bob', 'changing', 'x', 'x'), 'dead: exhausted 42501', 'made anew by somebody else');
sql(q{ALTER FUNCTION bob.changing(jsonb, jsonb) OWNER TO bob});
is(turn('bob', 'changing', 'x', 'x'), 'mallory was here as bob', 'given to the owner');
sql(q{ALTER FUNCTION bob.changing(jsonb, jsonb) OWNER TO mallory});
is(turn('bob', 'changing', 'x', 'x'), 'dead: exhausted 42501', 'and away again');
sql(q{GRANT mallory TO bob});
is(turn('bob', 'changing', 'x', 'x'), 'mallory was here as bob', 'trusted by membership');
sql(q{REVOKE mallory FROM bob});
is(turn('bob', 'changing', 'x', 'x'), 'dead: exhausted 42501', 'and no longer');
as('bob', q{SELECT actorstore.set_handler('bob', 'changing', 'look(jsonb, jsonb)')});
is(turn('bob', 'changing', 'look', q{'third'}), 'third', 'another function');
as('bob', q{SELECT actorstore.set_handler('bob', 'changing', NULL)});
is(turn('bob', 'changing', 'look', q{'third'}), 'dead: no handler VA004', 'none');
as('bob', q{SELECT actorstore.set_handler('bob', '*', 'look(jsonb, jsonb)')});
is(turn('bob', 'changing', 'look', q{'any'}), 'any', 'any');

# A handler that works on its own type.
is(run($_), '55006', $_) foreach q{SELECT actorstore.drop_type('alice')}, q{SELECT actorstore.alter_type('alice', persistence => 'unlogged')};
is(run($_), 'ok', $_) foreach q{SELECT actorstore.set_handler('alice', 'made', 'alice.look(jsonb, jsonb)')}, q{SELECT actorstore.alter_type('alice', mailbox_limit => 100)}, q{SELECT actorstore.create_type('made by alice')},
	q{SELECT actorstore.drop_type('made by alice')}, q{SELECT actorstore.grant_type('alice', 'bob', '{send}')};
is(turn('alice', 'made', 'look', q{'made'}), 'made', 'the handler that it has set');
is(look('bob', q{actorstore.send('alice', 'a', 'look', '{"look": "1"}') > 0}), "true\n1", 'the right that it has granted');

# Two owners at once, and the superuser's handlers for both.
sql(q{TRUNCATE seen;
	CREATE FUNCTION public.who(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO seen (what) VALUES (current_user); SELECT coalesce(state, '[]') || to_jsonb(current_user::text) $$;
	SELECT actorstore.set_handler('alice', 'who', 'who(jsonb, jsonb)'), actorstore.set_handler('bob', 'who', 'who(jsonb, jsonb)');
	SELECT actorstore.send(CASE i % 2 WHEN 0 THEN 'alice' ELSE 'bob' END, (i % 20)::text, 'who') FROM generate_series(1, 400) AS i});
ok(handled($node, 'd', 'alice') && handled($node, 'd', 'bob'), 'two owners: handled');
is(sql(q{SELECT what, count(*) FROM seen GROUP BY 1 ORDER BY 1}), "alice|200\nbob|200", 'two owners: each as himself');
is(sql(q{SELECT count(*) FROM actorstore.actor, jsonb_array_elements_text(value) AS e WHERE actor_type IN ('alice', 'bob') AND e <> actor_type}), 0, 'two owners: nothing is mixed up');

# A schema of handlers that has another name, and an owner who has gone, leaving his type to the superusers.
sub asked
{
	my ($type) = @_;
	my ($answer, $error);

	$node->psql('d', "SELECT actorstore.ask('$type', 'x', 'moved')", stdout => \$answer, stderr => \$error);
	return $answer || join '|', $error =~ /(?:ERROR|HINT):  (.*)/g;
}
as('bob', q{CREATE SCHEMA moving; CREATE FUNCTION moving.say(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN '"said"'::jsonb; SELECT actorstore.set_handler('bob', 'moved', 'moving.say(jsonb, jsonb)')});
is(asked('bob'), '"said"', 'a handler in a schema');
as('bob', 'ALTER SCHEMA moving RENAME TO moved');
is(asked('bob'), 'handler function moving.say(pg_catalog.jsonb,pg_catalog.jsonb) does not exist|Make it anew, or call actorstore.set_handler() with another one.', 'that is renamed');
as('bob', 'ALTER SCHEMA moved RENAME TO moving');
is(asked('bob'), '"said"', 'and renamed back');
sql(q{CREATE ROLE leaving; GRANT CREATE ON DATABASE d TO leaving; SET ROLE leaving; SELECT actorstore.create_type('left'); RESET ROLE; SELECT actorstore.set_handler('left', 'moved', 'who(jsonb, jsonb)')});
is(asked('left'), '["leaving"]', 'a handler of the superuser');
sql(q{DROP OWNED BY leaving; DROP ROLE leaving});
my $orphaned = q{the owner of actor type "left" does not exist any more|Give it another one: UPDATE actorstore.type SET owner = '...' WHERE actor_type = 'left'.};
is(asked('left'), $orphaned, 'nobody runs it as a role that is not there');
sql(q{UPDATE actorstore.type SET owner = 'alice' WHERE actor_type = 'left'});
is(asked('left'), '["leaving", "alice"]', 'until the type has an owner again');

# The server counts them where it counts functions.
$node->safe_psql('d', q{SELECT actorstore.call('bob', 'x', 'moved')}, kept => 0);
ok(comes_true($node, 'd', q{(SELECT calls >= 3 FROM pg_stat_user_functions WHERE funcname = 'say')}), 'twice by workers and once by who calls: pg_stat_user_functions');

$node->stop;
done_testing();
